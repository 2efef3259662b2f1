"""Any picture, made into what a network takes that was trained on ImageNet."""

import numpy as np
from PIL import Image

from serving.images import Pixels, to_rgb


def crop_photograph(image: Image.Image, *, resize_size: int, crop_size: int) -> Pixels:
    """Return the middle of a picture, shape (3, crop_size, crop_size), uint8.

    It is what torchvision's `ImageClassification` transform gives before it normalises, to the last bit: the
    short side is resized to `resize_size` pixels and the middle cut out. Only what is cut out is resized.

    Args:
        image: The picture, in any mode.
        resize_size: Pixels of the short side, at least crop_size.
        crop_size: Pixels of each side of what is cut out.

    Source:
        The evaluation of He et al., Deep Residual Learning for Image Recognition, CVPR (2016), section 4.1.
    """
    image = to_rgb(image)
    width, height = image.size
    short = min(width, height)
    new_width, new_height = resize_size * width // short, resize_size * height // short
    left, top = round((new_width - crop_size) / 2), round((new_height - crop_size) / 2)
    x_scale, y_scale = width / new_width, height / new_height
    box = (left * x_scale, top * y_scale, (left + crop_size) * x_scale, (top + crop_size) * y_scale)
    middle = image.resize((crop_size, crop_size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(middle).transpose(2, 0, 1)  # no copy: the channels still lie side by side

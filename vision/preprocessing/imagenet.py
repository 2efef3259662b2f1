"""Prepare any picture for a network that was trained on ImageNet."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from vision.errors import NoContentError
from vision.images.decode import Pixels
from vision.preprocessing.modes import to_rgb
from vision.preprocessing.prepared import Prepared

# A picture of one pixel by a million would take gigabytes when its short side is resized to 256. Longer ones
# are cropped first to this many times their short side, around the middle.
MOST_ELONGATED = 8
MIN_CONTRAST = 3  # of 255 levels, in one channel; a JPEG of one colour varies by less


def prepare_photograph(image: Image.Image, *, resize_size: int, crop_size: int) -> Prepared:
    """Return the middle of a picture as `crop_photograph` does.

    Raises:
        NoContentError: The middle has one colour.
    """
    pixels = crop_photograph(image, resize_size=resize_size, crop_size=crop_size)
    if all(np.ptp(channel) < MIN_CONTRAST for channel in pixels):
        raise NoContentError(
            "The middle of the image, which is all that the model sees, has one colour. Send one that shows "
            "something there."
        )
    return Prepared(pixels)


def crop_photograph(image: Image.Image, *, resize_size: int, crop_size: int) -> Pixels:
    """Return the middle of a picture, shape (3, crop_size, crop_size), uint8.

    The result is that of torchvision's `ImageClassification` transform before it normalises: the short side
    is resized to `resize_size` pixels, and the middle cropped. That transform resizes with Pillow, which
    takes twice the time of PyTorch, and rounds one pixel in a hundred the other way.

    Args:
        image: The picture, in any mode.
        resize_size: Pixels of the short side, at least crop_size.
        crop_size: Pixels of each side of the crop.

    Source:
        The evaluation of He et al., Deep Residual Learning for Image Recognition, CVPR (2016), section 4.1.
    """
    pixels = torch.from_numpy(np.array(middle_of_elongated(to_rgb(middle_of_elongated(image)))))  # (H, W, 3)
    height, width, _ = pixels.shape
    short = min(width, height)
    size = resize_size * height // short, resize_size * width // short
    resized = F.interpolate(pixels.permute(2, 0, 1)[None], size, mode="bilinear", antialias=True)[0]
    top, left = (round((side - crop_size) / 2) for side in size)
    middle: Pixels = resized[:, top : top + crop_size, left : left + crop_size].numpy().copy()
    return middle  # a copy: a view would keep the whole picture in memory


def middle_of_elongated(image: Image.Image) -> Image.Image:
    """Return an image, cropped to its middle if it is over MOST_ELONGATED times as long as wide."""
    longest = MOST_ELONGATED * min(image.size)
    if max(image.size) <= longest:
        return image
    width, height = (min(side, longest) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))

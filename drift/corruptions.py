"""Ways in which images drift: what is done to images to see whether a detector finds it.

It needs torchvision, which the running service does without: nothing that the service imports imports this.
"""

import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

PIXEL = 255


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Return images as through a lens out of focus.

    Args:
        images: Shape (N, C, H, W), uint8.
        sigma: Standard deviation of the blur, in pixels, positive.
    """
    # What lies beyond three standard deviations is a quarter of a percent; and a reflected border is at most
    # as wide as the image.
    reach = min(math.ceil(3 * sigma), min(images.shape[-2:]) - 1)
    blurred: Tensor = tv.gaussian_blur(images, [2 * reach + 1, 2 * reach + 1], [sigma, sigma])
    return blurred


def gaussian_noise(images: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Return images with noise in every value.

    Args:
        images: Shape (N, C, H, W), uint8.
        std: Standard deviation of the noise; 255 is the step from black to white.
        generator: Of the noise.
    """
    noise = torch.randn(images.shape, generator=generator) * std
    return (images + noise).round_().clamp_(0, PIXEL).to(torch.uint8)


def rotation(images: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Return images, each turned by an angle of its own.

    Args:
        images: Shape (N, C, H, W), uint8.
        degrees: Angles are drawn evenly from minus this to plus this.
        generator: Of the angles.
    """
    angles = (2 * torch.rand(len(images), generator=generator) - 1) * degrees
    return torch.stack(
        [
            tv.rotate(image, angle, interpolation=InterpolationMode.BILINEAR)
            for image, angle in zip(images, angles.tolist(), strict=True)
        ]
    )


def translation(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return images, each moved by a step of its own, in whole pixels.

    Args:
        images: Shape (N, C, H, W), uint8.
        share: Steps are drawn evenly from minus this share of height and width to plus it.
        generator: Of the steps.
    """
    size = torch.tensor(images.shape[-2:][::-1])
    steps = ((2 * torch.rand(len(images), 2, generator=generator) - 1) * share * size).round().long()
    return torch.stack(
        [
            tv.affine(image, angle=0, translate=step, scale=1, shear=[0, 0])
            for image, step in zip(images, steps.tolist(), strict=True)
        ]
    )

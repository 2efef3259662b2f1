"""Corruptions of images, to see whether a detector finds them.

They need torchvision, which the image of the service has not: import this late in what the service imports.
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
    # Beyond three standard deviations lies a quarter of a percent; and a reflected border is at most as wide
    # as the image.
    reach = min(math.ceil(3 * sigma), min(images.shape[-2:]) - 1)
    blurred = images.float()
    # Rows, then columns: in one step, a wide blur of a large image takes fifty times as long.
    for size in ([2 * reach + 1, 1], [1, 2 * reach + 1]):
        blurred = tv.gaussian_blur(blurred, size, [sigma, sigma])
    return blurred.round_().clamp_(0, PIXEL).to(torch.uint8)


def gaussian_noise(images: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Return images with noise in every value.

    Args:
        images: Shape (N, C, H, W), uint8.
        std: Standard deviation of the noise; 255 is the step from black to white.
        generator: Of the noise.
    """
    noise = torch.randn(images.shape, generator=generator) * std
    return (images + noise).round_().clamp_(0, PIXEL).to(torch.uint8)


def impulse_noise(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return images of which some values are black or white, as from dead pixels and bad transmission.

    TorchDrift's function of this name has no share, only severities, of which the highest strikes 7 % of the
    values of a small image; and it draws from PyTorch's global generator.

    Args:
        images: Shape (N, C, H, W), uint8.
        share: Of the values that are struck, 0 to 1; half of them turn black, half white.
        generator: Of which values these are. With the same seed, a larger share strikes the same and more.

    Source:
        Hendrycks, Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations
        (2019, arXiv 1903.12261), where impulse noise is salt-and-pepper noise in each channel for itself.
    """
    chance = torch.rand(images.shape, generator=generator)
    return images.masked_fill(chance < share / 2, 0).masked_fill(chance >= 1 - share / 2, PIXEL)


def brightness(images: Tensor, factor: float) -> Tensor:
    """Return images in more or less light.

    Args:
        images: Shape (N, C, H, W), uint8.
        factor: Of every value; 0 is black, 1 changes nothing, what would be brighter than white is white.
    """
    lit: Tensor = tv.adjust_brightness(images, float(factor))  # by an integer it overflows
    return lit


def contrast(images: Tensor, factor: float) -> Tensor:
    """Return images whose values lie nearer to, or further from, their image's mean grey.

    Args:
        images: Shape (N, C, H, W), uint8, C is 1 or 3.
        factor: Of the distance to the mean; 0 is even grey, 1 changes nothing.
    """
    changed: Tensor = tv.adjust_contrast(images, factor)
    return changed


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

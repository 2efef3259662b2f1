"""Corruptions of images, to see whether a detector finds them.

The results are those of torchvision, which takes seconds to load and is not in the image of the service.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PIXEL = 255


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Return images as through a lens out of focus.

    Args:
        images: Shape (N, C, H, W), uint8.
        sigma: Standard deviation of the blur, in pixels, positive.
    """
    # Beyond three standard deviations lies a quarter of a percent; a border reflects at most the whole image.
    reach = min(math.ceil(3 * sigma), min(images.shape[-2:]) - 1)
    steps = torch.linspace(-reach, reach, 2 * reach + 1)
    weights = steps.div(sigma).square().mul(-0.5).softmax(dim=0)
    blurred = images.float().flatten(0, 1).unsqueeze(1)  # (N·C, 1, H, W)
    # Columns, then rows: in one step, a wide blur of a large image takes fifty times as long.
    blurred = F.conv2d(F.pad(blurred, (0, 0, reach, reach), "reflect"), weights.view(1, 1, -1, 1))
    blurred = F.conv2d(F.pad(blurred, (reach, reach, 0, 0), "reflect"), weights.view(1, 1, 1, -1))
    return as_pixels(blurred.view(images.shape))


def as_pixels(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, PIXEL).to(torch.uint8)


def gaussian_noise(images: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Return images with noise in every value.

    Args:
        images: Shape (N, C, H, W), uint8.
        std: Standard deviation of the noise; 255 is the step from black to white.
    """
    return as_pixels(images + std * torch.randn(images.shape, generator=generator))


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
    return images.mul(float(factor)).clamp_(0, PIXEL).to(torch.uint8)  # by an integer it overflows


def contrast(images: Tensor, factor: float) -> Tensor:
    """Return images whose values lie nearer to, or further from, their image's mean grey.

    Args:
        images: Shape (N, C, H, W), uint8, C is 1 or 3.
        factor: Of the distance to the mean; 0 is even grey, 1 changes nothing.
    """
    grey = images.float()
    if images.shape[1] == 3:
        red, green, blue = grey.split(1, dim=1)
        grey = (0.2989 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()
    mean = grey.mean(dim=(1, 2, 3), keepdim=True)
    return images.mul(float(factor)).add_(mean, alpha=1 - factor).clamp_(0, PIXEL).to(torch.uint8)


def rotation(images: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Return images, each turned by an angle of its own.

    Args:
        images: Shape (N, C, H, W), uint8.
        degrees: Angles are drawn evenly from minus this to plus this.
    """
    angles = (2 * torch.rand(len(images), generator=generator) - 1) * degrees
    return as_pixels(warped(images, turns(angles), torch.zeros(len(images), 2)))


def translation(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return images, each moved by a step of its own, in whole pixels.

    Args:
        images: Shape (N, C, H, W), uint8.
        share: Steps are drawn evenly from minus this share of height and width to plus it.
    """
    size = torch.tensor(images.shape[-2:][::-1])
    steps = ((2 * torch.rand(len(images), 2, generator=generator) - 1) * share * size).round()
    return as_pixels(warped(images, torch.eye(2).expand(len(images), 2, 2), -steps))


def turns(angles: Tensor) -> Tensor:
    """Return matrices, shape (N, 2, 2), with which `warped` turns images by angles in degrees, shape (N,)."""
    cos, sin = angles.deg2rad().cos(), angles.deg2rad().sin()
    return torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)


def warped(images: Tensor, matrices: Tensor, steps: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Return images under affine maps, black where they come from outside.

    Args:
        images: Shape (N, C, H, W), uint8.
        matrices: From places in the result to places in the image, shape (N, 2, 2), in pixels right and down
            from the middle.
        steps: What is added to the places in the image, shape (N, 2).
        mode: How to interpolate between pixels, as `grid_sample` takes it.
    """
    half = torch.tensor(images.shape[-2:][::-1]) / 2  # torch counts from -1 to 1, whatever the size
    theta = torch.cat([matrices * half / half.unsqueeze(1), (steps / half).unsqueeze(2)], dim=2)  # (N, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, mode=mode, align_corners=False)

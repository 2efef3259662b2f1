"""Separate ink from paper: how far each pixel stands out from the background of a picture."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Levels = npt.NDArray[np.float32]

STEP = 4  # pixels on a side of the blocks whose means make the coarse picture, used to find the paper
WIDEST_STROKE = 1 / 3  # of the picture's long side
SMOOTHING = 1 / 200  # of the long side, as a standard deviation
CLEAR_MAJORITY = 0.38  # a tone with a smaller share of the pixels is surely ink
MIN_CONTRAST = 6.0  # of 255 levels; cameras and JPEG add this much noise to an empty sheet
NOISE_DEVIATIONS = 6.5  # standard deviations of the paper's noise that ink has to stand out by
USUAL_PERCENTILE = 20  # of the levels; below it there is only paper
BLOCK, QUIET_PERCENTILE = 14, 25  # pixels on a side of blocks; percentile of their deviations
DARKEST_PAPER = 40.0  # of 255 levels; darker paper is not evened out
FAINTEST_LIGHT, STRONGEST_LIGHT = 0.4, 2.0  # limits of the light on a sheet, times its median


@dataclass(frozen=True)
class Ink:
    """How far the pixels of a picture stand out from its paper.

    Attributes:
        levels: Shape (height, width), from 0 for paper to 255.
        noise: The highest level that paper alone reaches.
    """

    levels: Levels
    noise: float


def find_ink(grey: Levels) -> Ink:
    """Return the ink of a picture, dark on light or light on dark.

    The level of the paper at each pixel comes from a morphological closing wider than any stroke, or from an
    opening where ink is light on dark. It follows shadows, and ignores frames, desks and borders.
    The closing is done on a coarse picture, whose noise is low, after its light has been evened out.

    Args:
        grey: Shape (height, width), 0 to 255.

    Source:
        The closing and the top-hat: Serra, Image Analysis and Mathematical Morphology (1982).
    """
    smooth = ndimage.gaussian_filter(grey, sigma=max(grey.shape) * SMOOTHING, mode="nearest", truncate=3)
    coarse = coarsened(smooth)
    size = max(3, round(max(coarse.shape) * WIDEST_STROKE))
    upper = ndimage.maximum_filter(coarse, size, mode="nearest")
    lower = ndimage.minimum_filter(coarse, size, mode="nearest")
    if is_light_on_dark(coarse, upper, lower):
        light = light_on(ndimage.maximum_filter(lower, size, mode="nearest"), size // 2)
        paper = enlarged(light - closing(light - coarse, size), smooth.shape)  # an opening
        levels = smooth - paper
    else:
        light = light_on(ndimage.minimum_filter(upper, size, mode="nearest"), size // 2)
        median = np.median(light)
        light = np.maximum(np.clip(light, FAINTEST_LIGHT * median, STRONGEST_LIGHT * median), 1)
        paper = enlarged(closing(coarse / light, size) * light, smooth.shape)
        levels = 255 * (paper - smooth) / np.maximum(paper, DARKEST_PAPER)  # ink is as dark in the shade
    usual, noise = paper_levels(levels)
    return Ink(np.maximum(levels - usual, 0), max(MIN_CONTRAST, noise))


def paper_levels(levels: Levels) -> tuple[float, float]:
    """Return the usual level of the paper, and how far its noise can exceed that.

    Noise is the deviation within small blocks; strokes cross some of them, so a low percentile counts. It is
    stronger where there is less light, so it is measured in each quarter, and the noisiest two decide.
    """
    usual = float(np.percentile(levels[::2, ::2], USUAL_PERCENTILE))
    rows, columns = (max(1, side // BLOCK) for side in levels.shape)
    whole = levels[: rows * BLOCK, : columns * BLOCK]
    if whole.shape != (rows * BLOCK, columns * BLOCK):
        return usual, NOISE_DEVIATIONS * float(levels.std())
    deviations = whole.reshape(rows, BLOCK, columns, BLOCK).std(axis=(1, 3))
    quarters = [
        np.percentile(part, QUIET_PERCENTILE) for half in halves(deviations) for part in halves(half.T)
    ]
    return usual, NOISE_DEVIATIONS * float(np.sort(quarters)[-2:].mean())


def halves(picture: Levels) -> tuple[Levels, Levels]:
    """Return the upper and the lower half of a picture, which share its middle row if it has one."""
    rows = (len(picture) + 1) // 2
    return picture[:rows], picture[-rows:]


def is_light_on_dark(coarse: Levels, upper: Levels, lower: Levels) -> bool:
    """Return whether the paper is dark: most pixels with contrast are near the darkest around them.

    Around strokes most pixels are paper; along the edge of a desk there are as many on either side. A picture
    cropped to a bold digit may have as much ink as paper; the thicker tone is then the paper.
    """
    contrast = upper - lower
    there = contrast > contrast.max() / 2
    dark = there & (2 * coarse < upper + lower)
    light = there & ~dark
    n_dark, n_light = int(np.count_nonzero(dark)), int(np.count_nonzero(light))
    if min(n_dark, n_light) < CLEAR_MAJORITY * (n_dark + n_light):
        return n_dark > n_light
    return thickness(dark) > thickness(light)


def thickness(mask: npt.NDArray[np.bool_]) -> int:
    """Return half the side of the largest square in a mask, continued beyond the picture's border."""
    beyond = np.pad(mask, max(mask.shape) // 4, mode="edge")
    return int(ndimage.distance_transform_cdt(beyond, metric="chessboard").max())


def light_on(paper: Levels, margin: int) -> Levels:
    """Return the light on a sheet as a quadratic surface fitted to the levels of its paper.

    The outer `margin` pixels are left out of the fit: a closing gives them the levels farther inside.
    """
    height, width = paper.shape
    down, across = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    terms = np.dstack([np.ones_like(across), across, down, across * across, across * down, down * down])
    rows, columns = (max(0, min(margin, (side - 3) // 2)) for side in paper.shape)
    inside = np.s_[rows : height - rows, columns : width - columns]
    sample = terms[inside].reshape(-1, terms.shape[-1])
    # Adding a little of the identity keeps this solvable for pictures of a few pixels.
    normal = sample.T @ sample + 1e-3 * len(sample) * np.eye(terms.shape[-1], dtype=np.float32)
    surface: Levels = terms @ np.linalg.solve(normal, sample.T @ paper[inside].ravel())
    return surface


def closing(levels: Levels, size: int) -> Levels:
    # ndimage's own closing treats everything outside the picture as dark.
    widened = ndimage.maximum_filter(levels, size, mode="nearest")
    closed: Levels = ndimage.minimum_filter(widened, size, mode="nearest")
    return closed


def coarsened(levels: Levels) -> Levels:
    """Return the means of blocks of STEP × STEP pixels; a picture smaller than one block is kept."""
    rows, columns = (side // STEP for side in levels.shape)
    if not (rows and columns):
        return levels
    blocks = levels[: rows * STEP, : columns * STEP].reshape(rows, STEP, columns, STEP)
    means: Levels = blocks.mean(axis=(1, 3))
    return means


def enlarged(coarse: Levels, shape: tuple[int, ...]) -> Levels:
    """Return a coarse picture at its full size (height, width)."""
    if coarse.shape == shape:
        return coarse
    size = coarse.shape[1] * STEP, coarse.shape[0] * STEP
    return grown(np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR)), shape)


def grown(picture: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return a picture enlarged to a shape by repeating its last row and column."""
    missing = [(0, full - side) for full, side in zip(shape, picture.shape, strict=True)]
    return np.pad(picture, missing, mode="edge")

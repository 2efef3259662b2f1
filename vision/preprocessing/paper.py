"""Ink told from paper: by how much each pixel of a picture stands out from the sheet that it lies on."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Levels: TypeAlias = npt.NDArray[np.float32]

STEP = 4  # pixels on a side whose mean is one pixel of the coarse picture, in which the paper is looked for
WIDEST_STROKE = 1 / 3  # of the long side of the picture
SMOOTHING = 1 / 200  # of the long side, as a standard deviation
CLEAR_MAJORITY = 0.38  # share of the pixels that the rarer tone has at most where it is surely ink
MIN_CONTRAST = 6.0  # of 255 levels; cameras and JPEG add as much to an empty sheet
NOISE_DEVIATIONS = 6.5  # by which ink has to stand out from the noise of the paper
USUAL_PERCENTILE = 20  # of the levels, below which lies paper alone
BLOCK, QUIET_PERCENTILE = 14, 25  # pixels on a side, and of the blocks' deviations
DARKEST_PAPER = 40.0  # of 255 levels: light fainter than that is not made up for
FAINTEST_LIGHT, STRONGEST_LIGHT = 0.4, 2.0  # times the median, in between which the light on a sheet varies


@dataclass(frozen=True)
class Ink:
    """By how much the pixels of a picture stand out from its paper.

    Attributes:
        levels: Shape (height, width), 0 to 255, 0 where there is paper.
        noise: The level that paper alone can reach.
    """

    levels: Levels
    noise: float


def find_ink(grey: Levels) -> Ink:
    """Tell the ink of a picture from its paper, dark on light or light on dark.

    The paper's level at each pixel is that of a closing (of an opening, where ink is light on dark) wider
    than any stroke. It follows shadows, and neither a frame nor a desk nor the border decides which is which.
    The closing is made on a coarse picture, whose noise is low, after the light on it has been evened out.

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
        paper = enlarged(opening(coarse - light, size) + light, smooth.shape)
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
    """Return the usual level of the paper, and by how much its noise can exceed that.

    Noise is what the levels vary by within small blocks, of which strokes cross some and leave others. It is
    stronger where there is less light, so each quarter is looked at, and the two noisiest decide.
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
    """Return the upper and the lower half of a picture, of the same size, which share its middle row."""
    rows = (len(picture) + 1) // 2
    return picture[:rows], picture[-rows:]


def is_light_on_dark(coarse: Levels, upper: Levels, lower: Levels) -> bool:
    """Return whether most pixels are near the darkest around them, looking only where there is contrast.

    Around strokes most pixels are paper; along the edge of a desk as many are on either side. In a picture
    that is cropped to a bold digit as many may be ink; paper is then the thicker tone.
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
    """Return half the side of the largest square in a mask, which goes on beyond the picture's border."""
    beyond = np.pad(mask, max(mask.shape) // 4, mode="edge")
    return int(ndimage.distance_transform_cdt(beyond, metric="chessboard").max())


def light_on(paper: Levels, margin: int) -> Levels:
    """Return the light on a sheet as a smooth surface (of second order) through the levels of its paper.

    Up to `margin` pixels from the border a closing is as light as the paper farther inside. The surface goes
    on there as it does inside.
    """
    height, width = paper.shape
    down, across = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    terms = np.stack(
        [np.ones_like(across), across, down, across * across, across * down, down * down], axis=-1
    )
    rows, columns = (max(0, min(margin, (side - 3) // 2)) for side in paper.shape)
    inside = np.s_[rows : height - rows, columns : width - columns]
    sample = terms[inside].reshape(-1, terms.shape[-1])
    # A little of the identity keeps it defined in pictures of a few pixels.
    normal = sample.T @ sample + 1e-3 * len(sample) * np.eye(terms.shape[-1], dtype=np.float32)
    surface: Levels = terms @ np.linalg.solve(normal, sample.T @ paper[inside].ravel())
    return surface


def closing(levels: Levels, size: int) -> Levels:
    # Not ndimage's own, which takes what is outside the picture for dark.
    widened = ndimage.maximum_filter(levels, size, mode="nearest")
    closed: Levels = ndimage.minimum_filter(widened, size, mode="nearest")
    return closed


def opening(levels: Levels, size: int) -> Levels:
    return -closing(-levels, size)


def coarsened(levels: Levels) -> Levels:
    """Return the means of blocks of STEP × STEP pixels, or a picture smaller than one as it is."""
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
    """Return a picture with its last row and column repeated up to a shape that is a little larger."""
    missing = [(0, full - side) for full, side in zip(shape, picture.shape, strict=True)]
    return np.pad(picture, missing, mode="edge")

"""Find the sheet in a picture: a card on a desk, a note on a wall, a field in a frame."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vision.preprocessing.convex_hull import Mask, convex_hull
from vision.preprocessing.ink import STEP, Levels, coarsened, grown

MIN_SIDE = 12  # pixels of the coarse picture
MIN_CONTRAST = 30  # of 255 levels, between a sheet and what it lies on
SMALLEST, LARGEST = 0.05, 0.95  # shares of the picture that a sheet covers
BOX_SHARE = 0.45  # least share of the upright box around a sheet; a square on its corner fills half
OTHER_PAPER = 0.25  # share of a sheet's surroundings that may have the tone of the sheet
STEEP = 0.5  # least share of that contrast right at the sheet's edge; a shadow's edge is soft
EDGE = 2  # pixels of the coarse picture in which sheet and surroundings mix


@dataclass(frozen=True)
class Sheet:
    """Where a sheet lies in a picture.

    Attributes:
        mask: True inside, shape (height, width).
        level: Level of its paper, 0 to 255.
        share: Share of the picture that it covers.
    """

    mask: Mask
    level: float
    share: float


def find_sheet(grey: Levels) -> Sheet | None:
    """Return the sheet that covers a part of a picture, light on dark or dark on light, if there is one.

    Args:
        grey: Shape (height, width), 0 to 255.
    """
    coarse = coarsened(grey)
    if min(coarse.shape) < MIN_SIDE or np.ptp(coarse) < MIN_CONTRAST:
        return None
    light = coarse > otsu_threshold(coarse)
    contrast = coarse[light].mean() - coarse[~light].mean()
    for tone in (light, ~light):
        labels, _ = ndimage.label(tone)
        largest = np.bincount(labels.ravel())[1:].argmax()
        own, box = labels == 1 + largest, ndimage.find_objects(labels)[largest]
        if own.sum() < BOX_SHARE * own[box].size:
            continue
        filled = ndimage.binary_fill_holes(own)
        if not can_be_sheet(own, filled):
            continue
        hull = convex_hull(filled)
        inside = ndimage.binary_erosion(hull.mask, iterations=EDGE)
        if (
            hull.is_rectangle
            and (own & inside).any()
            and is_alone(tone, hull.mask)
            and edge_contrast(coarse, own, hull.mask) >= STEEP * contrast
        ):
            level = float(np.median(coarse[own & inside]))
            mask = grown(inside.repeat(STEP, axis=0).repeat(STEP, axis=1), grey.shape)
            return Sheet(mask, level, float(filled.mean()))
    return None


def is_alone(tone: Mask, hull: Mask) -> bool:
    """Return whether hardly anything outside a sheet has its tone; around the inside of a digit, much has."""
    outside = ~ndimage.binary_dilation(hull, iterations=EDGE)
    return bool(np.count_nonzero(tone & outside) <= OTHER_PAPER * np.count_nonzero(outside))


def can_be_sheet(own: Mask, filled: Mask) -> bool:
    """Return whether a region of one tone may be a sheet.

    A sheet is more than an outline, and reaches at most two sides of the picture: a region that reaches three
    leaves a strip, which could be a shadow.
    """
    sides = (filled[0], filled[-1], filled[:, 0], filled[:, -1])
    reached = sum(side.mean() > 0.1 for side in sides)
    return bool(SMALLEST < filled.mean() < LARGEST and own.sum() > filled.sum() / 2 and reached <= 2)


def edge_contrast(coarse: Levels, own: Mask, hull: Mask) -> float:
    """Return the difference between the mean levels just inside and just outside a sheet's edge."""
    inner = own & ndimage.binary_erosion(hull) & ~ndimage.binary_erosion(hull, iterations=EDGE + 1)
    near = ndimage.binary_dilation(hull)
    outer = ndimage.binary_dilation(near, iterations=EDGE) & ~near
    if not (inner.any() and outer.any()):
        return 0.0
    return float(abs(coarse[inner].mean() - coarse[outer].mean()))


def otsu_threshold(levels: Levels) -> float:
    """Return the level that divides a picture into two tones with the most variance between them.

    Source:
        Otsu, A Threshold Selection Method from Gray-Level Histograms, IEEE Trans. SMC 9 (1979).
    """
    counts, edges = np.histogram(levels, bins=64)
    sums = np.cumsum(counts * (edges[1:] + edges[:-1]) / 2)
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1:-1][between.argmax()])

"""Warn where the ink found in a picture may not be one digit."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from vision.preprocessing.connected_components import LabelledInk, Piece
from vision.preprocessing.prepared import WarningKind
from vision.preprocessing.segmentation import SPECK, Segmentation, is_cut_off

TALL = 0.6  # times the height of the tallest piece: the least height of another digit
PART = 0.4  # times that height: the least height of another digit that the edge cuts off
GAP = 0.05  # times the height of all pieces: the least gap between two digits
THICKEST_STROKE = 0.33  # times the digit's length; MNIST's strokes are up to 0.24 wide
CLUTTER = 2  # signs of a photograph that are enough for a warning


def warning_for(segmentation: Segmentation) -> WarningKind | None:
    """Return why the pieces taken for a digit may not be one; None if nothing speaks against it."""
    if is_cluttered(segmentation.ink):
        return WarningKind.CLUTTERED
    if are_several(segmentation.pieces) or has_neighbour(segmentation):
        return WarningKind.SEVERAL_DIGITS
    if is_thick(segmentation.ink, segmentation.pieces):
        return WarningKind.NO_STROKES
    return None


def are_several(pieces: Sequence[Piece]) -> bool:
    """Return whether two tall pieces stand side by side, with a gap between them."""
    tallest = max(piece.height for piece in pieces)
    height = max(piece.rows.stop for piece in pieces) - min(piece.rows.start for piece in pieces)
    tall = [piece for piece in pieces if piece.height >= TALL * tallest]
    return any(right.columns.start - left.columns.stop > GAP * height for left in tall for right in tall)


def has_neighbour(segmentation: Segmentation) -> bool:
    """Return whether a piece that was set aside may be another digit, cut off by the picture's edge."""
    tallest = max(piece.height for piece in segmentation.pieces)
    return any(
        piece.height >= PART * tallest
        and is_cut_off(piece, ink)
        and not piece.crosses(ink.levels.shape)
        and not is_thick(ink, [piece])
        for ink, pieces in segmentation.set_aside
        for piece in pieces
    )


def is_thick(ink: LabelledInk, pieces: Sequence[Piece]) -> bool:
    """Return whether the largest piece is too compact for a stroke, which is 2 × area / outline wide."""
    largest = max(pieces, key=lambda piece: piece.area)
    own = np.pad(ink.labels[largest.rows, largest.columns] == largest.label, 1)
    outline = np.count_nonzero(own & ~ndimage.binary_erosion(own))
    return bool(2 * largest.area > THICKEST_STROKE * largest.length * outline)


def is_cluttered(ink: LabelledInk) -> bool:
    """Return whether a picture looks like a photograph: many pieces, of many levels, on uneven paper."""
    largest = max((piece.area for piece in ink.long), default=0)
    share = ink.levels / ink.peak
    signs: tuple[bool, ...] = (
        len(ink.long) >= 7,
        len(ink.long) >= 10,
        sum(piece.area > SPECK * largest for piece in ink.long) >= 4,
        bool(np.mean((share > 0.15) & (share < 0.5)) >= 0.16),
        ink.noise >= max(12, 0.2 * ink.peak),
    )
    return sum(signs) >= CLUTTER

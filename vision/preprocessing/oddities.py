"""What makes it doubtful that the ink found in a picture is one digit."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from vision.preprocessing.marks import Marks, Piece
from vision.preprocessing.pieces import SPECK, Seen, is_cut_off
from vision.preprocessing.prepared import Oddity

TALL = 0.6  # times the height of the tallest piece, that another digit has
PART = 0.4  # times that height, that is left of another digit where the edge cuts it off
GAP = 0.05  # times the height of all pieces, that lies between two digits
THICKEST_STROKE = 0.33  # times the digit's length; the strokes of MNIST's are up to 0.24 wide
CLUTTER = 2  # how many of the signs of a photograph it takes


def oddity_of(seen: Seen) -> Oddity | None:
    """Return what is odd about the pieces that were taken for a digit, and about what is beside them."""
    if is_cluttered(seen.marks):
        return Oddity.CLUTTERED
    if are_several(seen.pieces) or has_neighbour(seen):
        return Oddity.SEVERAL_DIGITS
    if is_thick(seen.marks, seen.pieces):
        return Oddity.NO_STROKES
    return None


def are_several(pieces: Sequence[Piece]) -> bool:
    """Return whether two tall pieces stand side by side, with a gap between them."""
    tallest = max(piece.height for piece in pieces)
    height = max(piece.rows.stop for piece in pieces) - min(piece.rows.start for piece in pieces)
    tall = [piece for piece in pieces if piece.height >= TALL * tallest]
    return any(
        right.columns.start - left.columns.stop > GAP * height
        for left in tall
        for right in tall
        if left is not right
    )


def has_neighbour(seen: Seen) -> bool:
    """Return whether a piece that was set aside may be another digit, which the picture's edge cuts off."""
    tallest = max(piece.height for piece in seen.pieces)
    return any(
        piece.height >= PART * tallest
        and is_cut_off(piece, marks)
        and not piece.crosses(marks.levels.shape)
        and not is_thick(marks, [piece])
        for marks, pieces in seen.aside
        for piece in pieces
    )


def is_thick(marks: Marks, pieces: Sequence[Piece]) -> bool:
    """Return whether the largest piece is too compact for a stroke, which is 2 × area / outline wide."""
    largest = max(pieces, key=lambda piece: piece.area)
    own = np.pad(marks.labels[largest.rows, largest.columns] == largest.label, 1)
    outline = np.count_nonzero(own & ~ndimage.binary_erosion(own))
    return bool(2 * largest.area > THICKEST_STROKE * largest.length * outline)


def is_cluttered(marks: Marks) -> bool:
    """Return whether a picture looks like a photograph: many pieces, of many levels, on no even paper."""
    largest = max((piece.area for piece in marks.long), default=0)
    share = marks.levels / marks.peak
    signs: tuple[bool, ...] = (
        len(marks.long) >= 7,
        len(marks.long) >= 10,
        sum(piece.area > SPECK * largest for piece in marks.long) >= 4,
        bool(np.mean((share > 0.15) & (share < 0.5)) >= 0.16),
        marks.noise >= max(12, 0.2 * marks.peak),
    )
    return sum(signs) >= CLUTTER

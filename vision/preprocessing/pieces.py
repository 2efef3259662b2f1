"""The pieces of ink in a picture: the digit, and what is none, such as frames, lines, desks and specks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vision.preprocessing.marks import EIGHT_NEIGHBOURS, Marks, Piece, mark
from vision.preprocessing.paper import Ink, Levels, coarsened
from vision.preprocessing.shapes import convex_hull

STRONG = 3.0  # times the noise: more than what shadows near the border come to
SPECK = 0.05  # share of the largest piece's area below which another one is a speck
ROUNDS = 4  # of setting aside what is no digit: a desk, a frame on it, lines in the frame

ALONG_THE_EDGE = 0.3  # share of the picture's border that a desk or a frame covers, and a digit does not
EDGE_BAND, IN_THE_BAND = 0.13, 0.7  # share of the sides, and of a line's or margin's area that lies in there
# Times the length of a piece that touches the border: what is as long and does not touch it is the digit.
COMPANION = 0.5
ENCLOSED = 0.25  # times a frame's length, at least, that its content has
# Share of its full level by which a shadow changes from one pixel of the coarse picture to the next.
SOFT = 0.25
REMOVED_AROUND = 3  # pixels around what is set aside, which hold some of its ink
UNDERLINE = 3.5  # times as wide as high
# Times the length of the longest piece: what is farther from it, and no more than half as long, is a stain,
# or a hole that was punched into the sheet.
APART, APART_AT_THE_EDGE, SHORT = 0.5, 0.1, 0.5


@dataclass(frozen=True)
class Seen:
    """The pieces of a picture that are its digit, and those that were set aside before, with their marks."""

    marks: Marks
    pieces: Sequence[Piece]
    aside: Sequence[tuple[Marks, Sequence[Piece]]]


def see(ink: Ink) -> Seen | None:
    """Return which pieces of what is marked in a picture are the digit; None where there is none.

    What is no digit is set aside, and the rest looked at anew, since it may be fainter. Where nothing is
    left, the digit is what touches the border, unless that is a shadow, a line or a desk.
    """
    levels, aside = ink.levels, list[tuple[Marks, list[Piece]]]()
    for _ in range(ROUNDS):
        marks = mark(Ink(levels, ink.noise))
        if marks is None or not marks.long:
            break
        strange = [piece for piece in marks.long if is_strange(piece, marks)]
        if not strange:
            return Seen(marks, without_underline(without_scattered(without_specks(marks), marks)), aside)
        aside.append((marks, strange))
        levels = without(marks, strange)
    if not aside:
        return None
    marks, strange = aside[0]
    cut_off = [piece for piece in strange if is_cut_off(piece, marks)]
    return Seen(marks, cut_off, []) if cut_off else None


def is_strange(piece: Piece, marks: Marks) -> bool:
    """Return whether a piece is a desk, a line at the border, a shadow, or a frame around another piece."""
    others = [other for other in marks.long if other is not piece]
    if piece.touches_border(marks.levels.shape) and is_of_the_border(piece, others, marks):
        return True
    content = [
        other for other in others if piece.surrounds(other) and other.length >= ENCLOSED * piece.length
    ]
    return bool(content) and is_frame(piece, content, marks)


def is_of_the_border(piece: Piece, others: Sequence[Piece], marks: Marks) -> bool:
    """Return whether a piece that touches the border lies along it, is a shadow, or is beside a digit."""
    return (
        border_share(piece, marks) >= ALONG_THE_EDGE
        or band_share(piece, marks) >= IN_THE_BAND
        or is_soft(piece, marks)
        or any(
            other.length >= COMPANION * piece.length and not other.touches_border(marks.levels.shape)
            for other in others
        )
    )


def is_cut_off(piece: Piece, marks: Marks) -> bool:
    """Return whether a piece that touches the border may be a digit which the picture's edge cuts off."""
    is_small = piece.length < 0.6 * max(marks.levels.shape) and marks.peak > STRONG * marks.noise
    return (
        piece.touches_border(marks.levels.shape)
        and border_share(piece, marks) < ALONG_THE_EDGE
        and (is_small or band_share(piece, marks) < 0.85)
        and not is_soft(piece, marks)
    )


def border_share(piece: Piece, marks: Marks) -> float:
    labels = marks.labels
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return float(np.mean(border == piece.label))


def band_share(piece: Piece, marks: Marks) -> float:
    """Return which share of a piece lies in a band along the border."""
    height, width = marks.labels.shape
    rows, columns = int(np.ceil(EDGE_BAND * height)), int(np.ceil(EDGE_BAND * width))
    middle = marks.labels[rows : height - rows, columns : width - columns]
    return 1 - np.count_nonzero(middle == piece.label) / piece.area


def is_soft(piece: Piece, marks: Marks) -> bool:
    """Return whether a piece has no edge: the levels rise and fall slowly everywhere, as shadows do."""
    box = tuple(slice(max(0, side.start - 8), side.stop + 8) for side in (piece.rows, piece.columns))
    near = ndimage.binary_dilation(marks.labels[box] == piece.label, EIGHT_NEIGHBOURS, iterations=4)
    levels, there = coarsened(marks.levels[box]), coarsened(near.astype(np.float32)) > 0
    across = np.abs(np.diff(levels, axis=1))[there[:, 1:]].max(initial=0)
    down = np.abs(np.diff(levels, axis=0))[there[1:]].max(initial=0)
    return bool(max(across, down) < SOFT * levels[there].max(initial=0))


def is_frame(piece: Piece, content: Sequence[Piece], marks: Marks) -> bool:
    """Return whether a piece is a rectangle, in a hole of which some other piece lies."""
    filled = np.pad(ndimage.binary_fill_holes(marks.labels[piece.rows, piece.columns] == piece.label), 1)
    if not convex_hull(filled).is_rectangle:
        return False
    within = np.zeros(marks.labels.shape, dtype=bool)
    within[piece.rows, piece.columns] = filled[1:-1, 1:-1]
    return any(
        within[other.rows, other.columns][marks.labels[other.rows, other.columns] == other.label].all()
        for other in content
    )


def without(marks: Marks, strange: Sequence[Piece]) -> Levels:
    """Return the levels with some pieces gone; a shadow as far as it reaches."""
    gone = marks.mask(strange)
    soft = [piece for piece in strange if is_soft(piece, marks)]
    if soft:
        reach, _ = ndimage.label(marks.levels > marks.noise, structure=EIGHT_NEIGHBOURS)
        gone |= np.isin(reach, np.unique(reach[marks.mask(soft)]))
    around = ndimage.maximum_filter(gone, 2 * REMOVED_AROUND + 1)
    return np.where(around, np.float32(0), marks.levels)


def without_specks(marks: Marks) -> list[Piece]:
    largest = max(piece.area for piece in marks.long)
    return [piece for piece in marks.pieces if piece.area >= SPECK * largest]


def without_scattered(pieces: list[Piece], marks: Marks) -> list[Piece]:
    """Return the longest piece, what is as long, and whatever is near to one of these or to one another."""
    longest = max(piece.length for piece in pieces)
    near = [piece for piece in pieces if piece.length > SHORT * longest]
    rest = [
        (piece, longest * (APART_AT_THE_EDGE if band_share(piece, marks) >= IN_THE_BAND else APART))
        for piece in pieces
        if piece.length <= SHORT * longest
    ]
    while added := [piece for piece, reach in rest if any(piece.gap(other) <= reach for other in near)]:
        near += added
        rest = [(piece, reach) for piece, reach in rest if piece not in added]
    return near


def without_underline(pieces: list[Piece]) -> list[Piece]:
    """Return all pieces but a flat one below the others, and half as wide as they are or more."""
    lowest = max(pieces, key=lambda piece: piece.rows.start)
    others = [piece for piece in pieces if piece is not lowest]
    if (
        others
        and lowest.width >= UNDERLINE * lowest.height
        and lowest.rows.start >= max(piece.rows.stop for piece in others) - 1
        and lowest.width >= 0.5 * max(piece.width for piece in others)
    ):
        return others
    return pieces

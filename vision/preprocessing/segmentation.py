"""Separate the digit in a picture from frames, lines, desks, shadows and specks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vision.preprocessing.connected_components import EIGHT_NEIGHBOURS, LabelledInk, Piece, label_pieces
from vision.preprocessing.convex_hull import convex_hull
from vision.preprocessing.ink import Ink, Levels, coarsened

STRONG = 3.0  # times the noise; shadows near the border are weaker
SPECK = 0.05  # share of the largest piece's area below which another one is a speck
ROUNDS = 4  # of removing what is no digit: a desk, a frame on it, lines in the frame

ALONG_THE_EDGE = 0.3  # share of the picture's border that a desk or a frame covers, and a digit does not
EDGE_BAND = 0.13  # share of the picture's sides
IN_THE_BAND = 0.7  # share of the area of a line or margin that lies in that band
# Times the length of a piece that touches the border: another piece of that length, inside, is the digit.
COMPANION = 0.5
ENCLOSED = 0.25  # times a frame's length: the least length of its content
# A shadow changes by less than this share of its full level between two pixels of the coarse picture.
SOFT = 0.25
REMOVED_AROUND = 3  # pixels around a removed piece that hold some of its ink
UNDERLINE = 3.5  # width over height
# Times the length of the longest piece: a short piece farther away from it is a stain or a punched hole.
APART, APART_AT_THE_EDGE, SHORT = 0.5, 0.1, 0.5


@dataclass(frozen=True)
class Segmentation:
    """The pieces of ink that are the digit of a picture.

    Attributes:
        ink: The ink that the pieces are part of.
        pieces: The pieces of the digit.
        set_aside: Pieces that were removed before as no part of a digit, with the ink that they were part of.
    """

    ink: LabelledInk
    pieces: Sequence[Piece]
    set_aside: Sequence[tuple[LabelledInk, Sequence[Piece]]]


def segment_digit(found: Ink) -> Segmentation | None:
    """Return the pieces of ink that are the digit of a picture; None if there is no digit.

    Pieces that are no digit are removed, and the rest is labelled anew, since it may be fainter. If nothing
    is left, the digit is what touches the border, unless that is a shadow, a line or a desk.
    """
    levels, noise, set_aside = found.levels, found.noise, list[tuple[LabelledInk, list[Piece]]]()
    for _ in range(ROUNDS):
        ink = label_pieces(Ink(levels, noise))
        if ink is None or not ink.long:
            break
        background = [piece for piece in ink.long if is_background(piece, ink)]
        if not background:
            digit = without_underline(without_scattered(without_specks(ink), ink))
            return Segmentation(ink, digit, set_aside)
        set_aside.append((ink, background))
        levels = without(ink, background)
    if not set_aside:
        return None
    ink, background = set_aside[0]
    cut_off = [piece for piece in background if is_cut_off(piece, ink)]
    return Segmentation(ink, cut_off, []) if cut_off else None


def is_background(piece: Piece, ink: LabelledInk) -> bool:
    """Return whether a piece is a desk, a line at the border, a shadow, or a frame around another piece."""
    others = [other for other in ink.long if other is not piece]
    if piece.touches_border(ink.levels.shape) and is_of_the_border(piece, others, ink):
        return True
    content = [
        other for other in others if piece.surrounds(other) and other.length >= ENCLOSED * piece.length
    ]
    return bool(content) and is_frame(piece, content, ink)


def is_of_the_border(piece: Piece, others: Sequence[Piece], ink: LabelledInk) -> bool:
    """Return whether a piece that touches the border lies along it, is a shadow, or is beside a digit."""
    return (
        border_share(piece, ink) >= ALONG_THE_EDGE
        or band_share(piece, ink) >= IN_THE_BAND
        or is_soft(piece, ink)
        or any(
            other.length >= COMPANION * piece.length and not other.touches_border(ink.levels.shape)
            for other in others
        )
    )


def is_cut_off(piece: Piece, ink: LabelledInk) -> bool:
    """Return whether a piece that touches the border may be a digit that the picture's edge cuts off."""
    is_small = piece.length < 0.6 * max(ink.levels.shape) and ink.peak > STRONG * ink.noise
    return (
        piece.touches_border(ink.levels.shape)
        and border_share(piece, ink) < ALONG_THE_EDGE
        and (is_small or band_share(piece, ink) < 0.85)
        and not is_soft(piece, ink)
    )


def border_share(piece: Piece, ink: LabelledInk) -> float:
    labels = ink.labels
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return float(np.mean(border == piece.label))


def band_share(piece: Piece, ink: LabelledInk) -> float:
    """Return the share of a piece that lies in a band along the border."""
    height, width = ink.labels.shape
    rows, columns = int(np.ceil(EDGE_BAND * height)), int(np.ceil(EDGE_BAND * width))
    middle = ink.labels[rows : height - rows, columns : width - columns]
    return 1 - np.count_nonzero(middle == piece.label) / piece.area


def is_soft(piece: Piece, ink: LabelledInk) -> bool:
    """Return whether a piece has no sharp edge, like a shadow."""
    box = tuple(slice(max(0, side.start - 8), side.stop + 8) for side in (piece.rows, piece.columns))
    near = ndimage.binary_dilation(ink.labels[box] == piece.label, EIGHT_NEIGHBOURS, iterations=4)
    levels, there = coarsened(ink.levels[box]), coarsened(near.astype(np.float32)) > 0
    across = np.abs(np.diff(levels, axis=1))[there[:, 1:]].max(initial=0)
    down = np.abs(np.diff(levels, axis=0))[there[1:]].max(initial=0)
    return bool(max(across, down) < SOFT * levels[there].max(initial=0))


def is_frame(piece: Piece, content: Sequence[Piece], ink: LabelledInk) -> bool:
    """Return whether a piece is a rectangle with another piece inside."""
    filled = np.pad(ndimage.binary_fill_holes(ink.labels[piece.rows, piece.columns] == piece.label), 1)
    if not convex_hull(filled).is_rectangle:
        return False
    within = np.zeros(ink.labels.shape, dtype=bool)
    within[piece.rows, piece.columns] = filled[1:-1, 1:-1]
    return any(
        within[other.rows, other.columns][ink.labels[other.rows, other.columns] == other.label].all()
        for other in content
    )


def without(ink: LabelledInk, background: Sequence[Piece]) -> Levels:
    """Return the levels without some pieces; shadows are removed as far as they reach."""
    gone = ink.mask(background)
    soft = [piece for piece in background if is_soft(piece, ink)]
    if soft:
        reach, _ = ndimage.label(ink.levels > ink.noise, structure=EIGHT_NEIGHBOURS)
        gone |= np.isin(reach, np.unique(reach[ink.mask(soft)]))
    around = ndimage.maximum_filter(gone, 2 * REMOVED_AROUND + 1)
    return np.where(around, np.float32(0), ink.levels)


def without_specks(ink: LabelledInk) -> list[Piece]:
    largest = max(piece.area for piece in ink.long)
    return [piece for piece in ink.pieces if piece.area >= SPECK * largest]


def without_scattered(pieces: list[Piece], ink: LabelledInk) -> list[Piece]:
    """Return the longest pieces, and the shorter ones near to them or to others that are kept."""
    longest = max(piece.length for piece in pieces)
    near = [piece for piece in pieces if piece.length > SHORT * longest]
    rest = [
        (piece, longest * (APART_AT_THE_EDGE if band_share(piece, ink) >= IN_THE_BAND else APART))
        for piece in pieces
        if piece.length <= SHORT * longest
    ]
    while added := [piece for piece, reach in rest if any(piece.gap(other) <= reach for other in near)]:
        near += added
        rest = [(piece, reach) for piece, reach in rest if piece not in added]
    return near


def without_underline(pieces: list[Piece]) -> list[Piece]:
    """Return all pieces but an underline: flat, below the others, and at least half as wide as they are."""
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

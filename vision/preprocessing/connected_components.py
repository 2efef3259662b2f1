"""Label the connected pieces of ink in a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vision.preprocessing.convex_hull import Mask
from vision.preprocessing.ink import Ink, Levels

EIGHT_NEIGHBOURS = np.ones((3, 3))
CLEAR = 1.4  # times the noise: the least level of full ink
PEAK = 97  # percentile of the levels above the noise that counts as full ink
MARKED = 0.5  # share of full ink from which a pixel is part of a piece
SHORTEST = 0.035  # share of the picture's long side: the least length of a piece of a digit
SMALLEST = 4  # pixels
MOST_PIECES = 50  # examined one by one; only photographs have more


@dataclass(frozen=True)
class Piece:
    """One connected piece of ink: its label, its area in pixels, and the box around it."""

    label: int
    area: int
    rows: slice
    columns: slice

    @property
    def height(self) -> int:
        return int(self.rows.stop - self.rows.start)

    @property
    def width(self) -> int:
        return int(self.columns.stop - self.columns.start)

    @property
    def length(self) -> int:
        return max(self.height, self.width)

    def touches_border(self, shape: tuple[int, ...]) -> bool:
        at_an_end = self.rows.stop == shape[0] or self.columns.stop == shape[1]
        return at_an_end or 0 in {self.rows.start, self.columns.start}

    def crosses(self, shape: tuple[int, ...]) -> bool:
        """Return whether a piece reaches from one edge of the picture to the opposite one."""
        return self.height == shape[0] or self.width == shape[1]

    def gap(self, other: "Piece") -> int:
        """Return the pixels between the boxes around two pieces, across or down, whichever are more."""
        across = max(self.columns.start, other.columns.start) - min(self.columns.stop, other.columns.stop)
        down = max(self.rows.start, other.rows.start) - min(self.rows.stop, other.rows.stop)
        return int(max(across, down, 0))

    def surrounds(self, other: "Piece") -> bool:
        across = self.columns.start < other.columns.start and self.columns.stop > other.columns.stop
        down = self.rows.start < other.rows.start and self.rows.stop > other.rows.stop
        return bool(across and down)


@dataclass(frozen=True)
class LabelledInk:
    """The ink of a picture, with its connected pieces.

    Attributes:
        levels: The ink, shape (height, width).
        noise: The level that paper alone can reach.
        peak: The level of full ink.
        labels: The label of each pixel's piece, 0 for none.
        pieces: The pieces of SMALLEST pixels or more.
    """

    levels: Levels
    noise: float
    peak: float
    labels: npt.NDArray[np.int32]
    pieces: Sequence[Piece]

    @cached_property
    def long(self) -> list[Piece]:
        """The pieces long enough for a part of a digit, largest first, MOST_PIECES at most."""
        long = [piece for piece in self.pieces if piece.length >= SHORTEST * max(self.levels.shape)]
        return sorted(long, key=lambda piece: -piece.area)[:MOST_PIECES]

    def mask(self, pieces: Sequence[Piece]) -> Mask:
        """Return a mask of some of the pieces."""
        wanted = np.zeros(1 + self.labels.max(), dtype=bool)
        wanted[[piece.label for piece in pieces]] = True
        marked: Mask = wanted[self.labels]
        return marked


def label_pieces(ink: Ink) -> LabelledInk | None:
    """Return ink with its pieces labelled, at half its full level; None if all of it may be noise."""
    above = ink.levels[ink.levels > ink.noise]
    if not len(above):
        return None
    peak = float(np.percentile(above, PEAK))
    if peak < CLEAR * ink.noise:
        return None
    labels, count = ndimage.label(ink.levels > max(ink.noise, MARKED * peak), structure=EIGHT_NEIGHBOURS)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    pieces = [
        Piece(label, int(areas[label]), *box)
        for label, box in enumerate(ndimage.find_objects(labels), 1)
        if areas[label] >= SMALLEST
    ]
    return LabelledInk(ink.levels, ink.noise, peak, labels, pieces)

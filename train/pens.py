"""Digits drawn again with pens of other widths than MNIST's, as people draw them on screens and on paper."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage
from skimage.morphology import skeletonize
from torch import Tensor

from vision.preprocessing.mnist import centred  # the very preparation that the service makes

Ink = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

SCALE = 10  # of the drawing board, on which the middle line of a digit of 28 × 28 is found
MARGIN = 60  # pixels of the board around its ink, for the widest pens
HEIGHT = 190  # pixels of a digit that is drawn for training
THINNEST, WIDEST = 1.5, 44  # pixels of the pens that draw it
SMOOTHING = 8  # pixels from which others are smoothed


def redrawn(images: Tensor, *, seed: int, advance: Callable[[], object] = lambda: None) -> Tensor:
    """Return digits as the service prepares them, each drawn anew with a pen of random width.

    Args:
        images: Shape (N, 28, 28), uint8, light on dark.
        seed: Of the widths, whose logarithms are uniform.
        advance: Called after each digit.
    """
    rng = np.random.default_rng(seed)
    pens = np.exp(rng.uniform(np.log(THINNEST), np.log(WIDEST), len(images)))
    drawn = list[Pixels]()
    for digit, pen in zip(images.numpy(), pens, strict=True):
        ink = drawn_ink(on_board(digit, round(MARGIN * pen / WIDEST) + SMOOTHING), HEIGHT, pen)
        drawn.append(centred(Image.fromarray((ink * 255).astype(np.uint8))))
        advance()
    return torch.from_numpy(np.concatenate(drawn))  # (N, 28, 28)


class Board(NamedTuple):
    """A digit on the drawing board: its ink, 0 to 1, and how far each pixel is from its middle line."""

    ink: Ink
    distance: Ink


def on_board(digit: npt.NDArray[np.uint8], margin: int = MARGIN) -> Board:
    """Return a digit of shape (28, 28), light on dark, enlarged, with its middle line found.

    Args:
        digit: With ink on it.
        margin: Pixels of the board around the ink: the fewer, the sooner it is done.
    """
    large = Image.fromarray(digit).resize((28 * SCALE, 28 * SCALE), Image.Resampling.BICUBIC)
    ink: Ink = np.pad(np.asarray(large.crop(large.getbbox()), np.float32) / 255, margin)
    middle = skeletonize(ndimage.gaussian_filter(ink, 2) > 0.5)  # type: ignore[no-untyped-call] # it has no types
    return Board(ink, ndimage.distance_transform_edt(~middle).astype(np.float32))


def drawn_ink(board: Board, height: float, pen: float | None) -> Ink:
    """Return how much of each pixel is covered by ink, 0 to 1, in a box around the digit.

    Args:
        board: The digit.
        height: Pixels along the long side of the digit's middle line or, without a pen, of its ink.
        pen: Width in pixels; None for the ink that the digit has.
    """
    rows, columns = np.nonzero(board.ink > 0.5 if pen is None else board.distance < 1)
    scale = height / (max(np.ptp(rows), np.ptp(columns)) + 1)
    around = 2 if pen is None else int(np.ceil((pen / 2 + 1) / scale)) + 1
    top, left = max(0, rows.min() - around), max(0, columns.min() - around)
    box = slice(top, rows.max() + 1 + around), slice(left, columns.max() + 1 + around)
    wanted = board.ink[box] if pen is None else board.distance[box]
    size = max(1, round(wanted.shape[1] * scale)), max(1, round(wanted.shape[0] * scale))
    resized = np.asarray(Image.fromarray(wanted).resize(size, Image.Resampling.BILINEAR))
    covered: Ink = np.clip(resized if pen is None else pen / 2 + 0.5 - resized * scale, 0, 1)
    return covered

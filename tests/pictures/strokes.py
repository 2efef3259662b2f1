"""A held-out digit as ink: as MNIST has it, or drawn again with a pen of some width along its middle line."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from skimage.morphology import skeletonize

Array = npt.NDArray[np.float32]

SCALE = 10  # of the drawing board, 280 × 280, on which the middle line of a digit is found
MARGIN = 60  # pixels around it, for wide pens


@lru_cache(maxsize=512)
def board(pixels: bytes) -> tuple[Array, Array]:
    """Return a digit of 28 × 28 on the drawing board: its ink, 0 to 1, and each pixel's distance to its middle."""
    digit = Image.frombytes("L", (28, 28), pixels).resize((28 * SCALE, 28 * SCALE), Image.Resampling.BICUBIC)
    ink = np.pad(np.asarray(digit, np.float32) / 255, MARGIN)
    middle = skeletonize(ndimage.gaussian_filter(ink, 2) > 0.5)
    return ink, ndimage.distance_transform_edt(~middle).astype(np.float32)


def ink_of_digit(digit: npt.NDArray[np.uint8], *, height: float, pen: float | None = None) -> Array:
    """Return how much of each pixel is covered by ink, 0 to 1, in a box around the digit.

    Args:
        digit: Shape (28, 28), light on dark.
        height: Pixels along the long side of the digit's middle line or, without a pen, of its ink.
        pen: Width in pixels; None for the ink that the digit has.
    """
    ink, distance = board(digit.tobytes())
    rows, columns = np.nonzero(ink > 0.5 if pen is None else distance < 1)
    scale = height / (max(np.ptp(rows), np.ptp(columns)) + 1)
    around = 2 if pen is None else int(np.ceil((pen / 2 + 1) / scale)) + 1
    top, left = max(0, rows.min() - around), max(0, columns.min() - around)
    box = slice(top, rows.max() + 1 + around), slice(left, columns.max() + 1 + around)
    wanted = ink[box] if pen is None else distance[box]
    size = max(1, round(wanted.shape[1] * scale)), max(1, round(wanted.shape[0] * scale))
    resized = np.asarray(Image.fromarray(wanted).resize(size, Image.Resampling.BILINEAR))
    return np.clip(resized if pen is None else pen / 2 + 0.5 - resized * scale, 0, 1)

"""Any picture of a digit, made into what MNIST's digits are: 28 × 28, light on dark, centred by mass."""

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from serving.images import Pixels, to_greyscale

SIZE = 28
DIGIT_SIZE = 20  # MNIST's digits fit a box of 20 × 20 pixels
# Pixels along the long side while the digit is looked for: enough for a small digit in a large photograph,
# and for the strokes of a tiny picture to have an inside.
MAX_WORKING_SIZE, MIN_WORKING_SIZE = 280, 140
PAPER = 0.3  # ink fainter than this share of the darkest is taken for paper, shadow or noise


def to_mnist(image: Image.Image) -> Pixels:
    """Return a picture of one digit as MNIST would hold it, shape (28, 28), uint8, light on dark.

    A picture of 28 × 28 pixels is taken for one of MNIST's kind and only made grey. Any other may be dark on
    light or light on dark, unevenly lit, of any size and with any margin. A picture without contrast comes
    out black.

    Source:
        The preparation of MNIST from NIST's digits: LeCun et al., Gradient-based learning applied to document
        recognition, Proc. IEEE 86 (1998), section III.A.
    """
    grey = to_greyscale(image)
    if grey.size == (SIZE, SIZE):
        return np.asarray(grey)
    ink = ink_of(np.asarray(at_working_size(grey), dtype=np.float32))
    marked = ink > 0.5
    if not marked.any():
        return np.zeros((SIZE, SIZE), dtype=np.uint8)
    return centred(cropped(ink, marked))


def at_working_size(grey: Image.Image) -> Image.Image:
    longest = max(grey.size)
    scale = min(max(longest, MIN_WORKING_SIZE), MAX_WORKING_SIZE) / longest
    width, height = (max(1, round(side * scale)) for side in grey.size)
    return grey.resize((width, height), Image.Resampling.BICUBIC)


def ink_of(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return how much ink each pixel holds, 0 to 1, with uneven lighting and noise taken out."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if np.median(border) > (grey.min() + grey.max()) / 2:
        grey = 255 - grey
    # An opening wider than any stroke leaves the paper under the ink, shadows included.
    wider_than_strokes = max(3, max(grey.shape) // 3)
    smooth = ndimage.gaussian_filter(grey, sigma=max(grey.shape) / 200)
    ink = ndimage.white_tophat(np.pad(smooth, wider_than_strokes, mode="edge"), size=wider_than_strokes)
    ink = ink[wider_than_strokes:-wider_than_strokes, wider_than_strokes:-wider_than_strokes]
    darkest = np.percentile(ink, 99.5)
    if darkest < 8:  # of 255 grey levels: no more than the noise of an empty sheet
        return np.zeros_like(grey)
    share: npt.NDArray[np.float32] = np.clip((ink / darkest - PAPER) / (1 - PAPER), 0, 1)
    return share


def cropped(ink: npt.NDArray[np.float32], marked: npt.NDArray[np.bool_]) -> Image.Image:
    """Return the ink of the digit alone: specks far smaller than it are left out."""
    regions, count = ndimage.label(marked, structure=np.ones((3, 3)))
    areas = ndimage.sum_labels(marked, regions, index=range(1, count + 1))
    large = np.isin(regions, 1 + np.flatnonzero(areas >= 0.05 * areas.max()))
    rows, columns = np.flatnonzero(large.any(axis=1)), np.flatnonzero(large.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Image.fromarray((ink[box] * 255).astype(np.uint8))


def centred(digit: Image.Image) -> Pixels:
    """Scale a digit into 20 × 20 pixels and place its centre of mass at the centre of 28 × 28."""
    scale = DIGIT_SIZE / max(digit.size)
    width, height = (max(1, round(side * scale)) for side in digit.size)
    pixels = np.asarray(digit.resize((width, height), Image.Resampling.LANCZOS))
    row, column = ndimage.center_of_mass(pixels) if pixels.any() else (height / 2, width / 2)
    top = int(np.clip(round(SIZE / 2 - 0.5 - row), 0, SIZE - height))
    left = int(np.clip(round(SIZE / 2 - 0.5 - column), 0, SIZE - width))
    canvas = np.zeros((SIZE, SIZE), dtype=np.uint8)
    canvas[top : top + height, left : left + width] = pixels
    return canvas

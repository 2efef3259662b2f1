"""Any picture of a digit, made into what MNIST's digits are: 28 × 28, light on dark, centred by mass."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageStat
from scipy import ndimage

from vision.errors import NoDigitError
from vision.images.decode import Pixels
from vision.preprocessing.marks import Marks, Piece
from vision.preprocessing.modes import to_greyscale, to_rgb
from vision.preprocessing.oddities import oddity_of
from vision.preprocessing.paper import Levels, find_ink
from vision.preprocessing.pieces import Seen, see
from vision.preprocessing.prepared import Prepared
from vision.preprocessing.shapes import Mask
from vision.preprocessing.sheets import Sheet, find_sheet

SIZE = 28
DIGIT_SIZE = 20  # MNIST's digits fit a box of 20 × 20 pixels
MIN_CONTRAST = 16  # of 255 levels, between the darkest and the lightest of MNIST's 28 × 28
# Pixels along the long side while the digit is looked for: enough for a small digit in a large photograph,
# and for the strokes of a tiny picture to have an inside.
MAX_WORKING_SIZE, MIN_WORKING_SIZE = 280, 140
PAPER = 0.3  # ink fainter than this share of full ink is left out: paper, shadow or noise
ENOUGH = 70  # pixels of a digit's long side; where it has fewer, and the picture more, it is looked at closer
ROOM = 0.7  # times that side, around a digit that is looked at closer
THIN_LINE, WIDEST_OUTLINE = 0.05, 0.16  # times a digit's length: of lines, and of strokes outlined by them
ALL_LINES = 0.95  # share of a digit's ink along the inside of its outline
STRIP, STRIP_CONTRAST = 0.5, 100  # width over length, and levels, of pictures that are cropped to the ink
MARGIN = 0.2  # times the length of such a picture, added around it
MOST_STEPS = 3  # of looking closer: at a sheet on a desk, and at a small digit on it
Box: TypeAlias = tuple[slice, slice]  # of rows and columns
COLOURFUL = ("RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV")


def to_mnist(image: Image.Image) -> Prepared:
    """Return a picture of one digit as MNIST would hold it, shape (1, 28, 28), uint8, light on dark.

    A picture of 28 × 28 pixels that is light on dark is taken for one of MNIST's and only made grey; one that
    is dark on light is inverted. In any other the digit is found first, dark on light or light on dark,
    anywhere and of any size: on a sheet on a desk, in a frame, in uneven light, drawn with any pen.

    Raises:
        NoDigitError: Nothing is on it.

    Source:
        The preparation of MNIST from NIST's digits: LeCun et al., Gradient-based learning applied to document
        recognition, Proc. IEEE 86 (1998), section III.A.
    """
    found = digit_of(to_greyscale(image))
    # Ink may be as bright as its paper, and of another colour.
    if found is None and image.mode in COLOURFUL:
        found = digit_of(strongest_channel(image))
    if found is None:
        raise NoDigitError(
            "There is nothing on this image that could be a digit. Send one that shows a digit."
        )
    return found


def digit_of(grey: Image.Image) -> Prepared | None:
    """Return the digit in a grey picture; None if there is none."""
    if grey.size == (SIZE, SIZE):
        return of_mnists_size(np.asarray(grey))
    return find_digit(grey, MOST_STEPS)


def of_mnists_size(pixels: Pixels) -> Prepared | None:
    """Return a picture of 28 × 28 as it is, or inverted if its border is light; None if it is blank."""
    darkest, lightest = int(pixels.min()), int(pixels.max())
    if lightest - darkest < MIN_CONTRAST:
        return None
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    if 2 * np.count_nonzero(2 * border.astype(np.uint16) > darkest + lightest) > len(border):
        paper = np.median(border)
        ink = (paper - pixels.astype(np.float32)) * (255 / (paper - darkest))
        pixels = np.rint(ink).clip(0, 255).astype(np.uint8)
    return Prepared(pixels[np.newaxis])


def strongest_channel(image: Image.Image) -> Image.Image:
    """Return the one of red, green and blue in which a picture has most contrast."""
    return max(to_rgb(image).split(), key=lambda channel: float(ImageStat.Stat(channel).var[0]))


def find_digit(grey: Image.Image, steps: int) -> Prepared | None:
    """Return the digit in a grey picture, looking closer up to `steps` times; None if there is none."""
    working = at_working_size(grey)
    scale = max(grey.size) / max(working.size)
    levels = np.asarray(working, dtype=np.float32)
    sheet = find_sheet(levels) if steps else None
    if sheet:
        found = find_digit(alone(sheet, grey, scale), steps - 1)
        if found or sheet.share > 0.25:  # a smaller one may be the inside of a digit's loop
            return found
    seen = see(find_ink(levels))
    if seen is None:
        return find_digit(widened(levels), 0) if steps and is_strip(levels) else None
    oddity, (rows, columns) = oddity_of(seen), box_around(seen.pieces)
    length = max(rows.stop - rows.start, columns.stop - columns.start)
    if steps and length < ENOUGH and scale > 1:
        room = ROOM * length
        around = (columns.start - room, rows.start - room, columns.stop + room, rows.stop + room)
        closer = find_digit(cut(grey, around, scale), steps - 1)
        if closer:
            return Prepared(closer.pixels, oddity or closer.oddity)
    return Prepared(centred(drawn(seen, (rows, columns))), oddity)


def is_strip(levels: Levels) -> bool:
    """Return whether a picture is narrow and of such contrast that it may be cropped to ink."""
    return min(levels.shape) < STRIP * max(levels.shape) and float(np.ptp(levels)) > STRIP_CONTRAST


def widened(levels: Levels) -> Image.Image:
    """Return a picture with a margin around it, as light as most of its corners are."""
    margin = round(MARGIN * max(levels.shape))
    corner = max(1, min(levels.shape) // 10)
    corners = [
        levels[y, x]
        for y in (slice(corner), slice(-corner, None))
        for x in (slice(corner), slice(-corner, None))
    ]
    paper = float(np.median([part.mean() for part in corners]))
    return Image.fromarray(np.pad(levels, margin, constant_values=paper))


def box_around(pieces: Sequence[Piece]) -> Box:
    rows = slice(min(piece.rows.start for piece in pieces), max(piece.rows.stop for piece in pieces))
    columns = slice(min(piece.columns.start for piece in pieces), max(piece.columns.stop for piece in pieces))
    return rows, columns


def drawn(seen: Seen, box: Box) -> Image.Image:
    """Return the ink of the digit in a box around it, with the inside of strokes that are outlines."""
    own = seen.marks.mask(seen.pieces)[box]
    reach = 1 + 2 * max(1, round(max(seen.marks.levels.shape) / 100))  # of the fading edge of a stroke
    ink = np.where(ndimage.maximum_filter(own, reach), ink_of(seen.marks, box), 0)
    ink[inside_of_outline(own)] = 255
    return Image.fromarray(ink)


def at_working_size(grey: Image.Image) -> Image.Image:
    longest = max(grey.size)
    scale = min(max(longest, MIN_WORKING_SIZE), MAX_WORKING_SIZE) / longest
    width, height = (max(1, round(side * scale)) for side in grey.size)
    return grey.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3)


def cut(grey: Image.Image, box: Sequence[float], scale: float) -> Image.Image:
    """Return the part of a picture in a box of the working size, as far as the picture reaches."""
    left, top, right, bottom = (round(side * scale) for side in box)
    return grey.crop((max(0, left), max(0, top), min(grey.width, right), min(grey.height, bottom)))


def alone(sheet: Sheet, grey: Image.Image, scale: float) -> Image.Image:
    """Return the part of a picture that shows a sheet; what is around the sheet becomes its paper."""
    rows, columns = np.flatnonzero(sheet.mask.any(axis=1)), np.flatnonzero(sheet.mask.any(axis=0))
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    part = cut(grey, box, scale)
    mask = Image.fromarray(sheet.mask).crop(box).resize(part.size)
    return Image.composite(part, Image.new("L", part.size, round(sheet.level)), mask)


def ink_of(marks: Marks, box: Box) -> Pixels:
    """Return how much ink each pixel in a box holds, 0 to 255."""
    share = (marks.levels[box] / marks.peak - PAPER) * (255 / (1 - PAPER))
    return share.clip(0, 255).astype(np.uint8)


def inside_of_outline(own: Mask) -> Mask:
    """Return the inside of a stroke of which only the outline is drawn; nothing if strokes are plain lines.

    It is a gap that is closed, no wider than a stroke, and has all the lines of the digit along it.
    """
    length = max(own.shape)
    line = int(ndimage.distance_transform_cdt(own, metric="chessboard").max())
    nothing = np.zeros_like(own)
    if 2 * line > THIN_LINE * length:
        return nothing
    gaps, count = ndimage.label(~np.pad(own, 1, constant_values=False))
    depths = ndimage.distance_transform_cdt(gaps > 0, metric="chessboard")
    deepest = np.asarray(ndimage.maximum(depths, gaps, range(1, count + 1)))
    areas = np.bincount(gaps.ravel(), minlength=count + 1)[1:]
    areas[2 * deepest > WIDEST_OUTLINE * length] = 0
    inside = (gaps == 1 + areas.argmax())[1:-1, 1:-1] if areas.any() else nothing
    along = ndimage.maximum_filter(inside, 4 * line + 3)
    return inside if np.count_nonzero(own & along) >= ALL_LINES * np.count_nonzero(own) else nothing


def centred(digit: Image.Image) -> Pixels:
    """Scale a digit into 20 × 20 pixels, stretch it to full contrast, and centre its mass in 28 × 28.

    Without stretching, the strokes of a thin pen would come out grey, and those of MNIST are white.
    """
    scale = DIGIT_SIZE / max(digit.size)
    width, height = (max(1, round(side * scale)) for side in digit.size)
    ink = np.asarray(digit.resize((width, height), Image.Resampling.LANCZOS), dtype=np.float32)
    pixels = np.rint(ink * (255 / ink.max())).astype(np.uint8)
    row, column = ndimage.center_of_mass(pixels)
    top = int(np.clip(round(SIZE / 2 - 0.5 - row), 0, SIZE - height))
    left = int(np.clip(round(SIZE / 2 - 0.5 - column), 0, SIZE - width))
    canvas = np.zeros((1, SIZE, SIZE), dtype=np.uint8)
    canvas[0, top : top + height, left : left + width] = pixels
    return canvas

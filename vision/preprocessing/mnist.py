"""Turn any picture of a digit into one like MNIST's: 28 × 28, light on dark, centred by mass."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageStat
from scipy import ndimage

from vision.errors import NoDigitError
from vision.images.decode import Pixels
from vision.preprocessing.connected_components import Piece
from vision.preprocessing.convex_hull import Mask
from vision.preprocessing.digit_warnings import warning_for
from vision.preprocessing.ink import Levels, find_ink
from vision.preprocessing.modes import to_greyscale, to_rgb
from vision.preprocessing.prepared import Prepared
from vision.preprocessing.segmentation import Segmentation, segment_digit
from vision.preprocessing.sheets import Sheet, find_sheet

SIZE = 28
DIGIT_SIZE = 20  # MNIST's digits fit a box of 20 × 20 pixels
MIN_CONTRAST = 16  # of 255 levels, between the darkest and the lightest of MNIST's 28 × 28
# Pixels of the long side during the search: enough for a small digit in a large photograph, and for strokes
# in a tiny picture to be several pixels wide.
MAX_WORKING_SIZE, MIN_WORKING_SIZE = 280, 140
PAPER = 0.3  # share of full ink; anything fainter is paper, shadow or noise
ENOUGH = 70  # pixels of a digit's long side; a smaller digit is searched again in a closer crop
ROOM = 0.7  # times that side: the margin of the closer crop
THIN_LINE, WIDEST_OUTLINE = 0.05, 0.16  # times a digit's length: widths of lines, and of outlined strokes
ALL_LINES = 0.95  # least share of the ink that lies along the inside of an outlined digit
STRIP, STRIP_CONTRAST = 0.5, 100  # width over length, and levels, of pictures cropped to the ink
MARGIN = 0.2  # times the length of such a picture: paper added around it
MOST_STEPS = 3  # closer crops: a sheet on a desk, and a small digit on it
Box = tuple[slice, slice]  # of rows and columns
COLOURFUL = ("RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV")


def to_mnist(image: Image.Image) -> Prepared:
    """Return the digit in a picture as MNIST would hold it, shape (1, 28, 28), uint8, light on dark.

    A picture of 28 × 28 pixels that is light on dark is taken for one of MNIST's and only made grey; one that
    is dark on light is inverted. In any other the digit is found first, dark on light or light on dark,
    anywhere and of any size: on a sheet on a desk, in a frame, in uneven light, drawn with any pen.

    Raises:
        NoDigitError: There is no digit.

    Source:
        The preparation of MNIST from NIST's digits: LeCun et al., Gradient-based learning applied to document
        recognition, Proc. IEEE 86 (1998), section III.A.
    """
    found = digit_of(to_greyscale(image))
    # Ink of another colour may be as bright as its paper.
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
        return as_mnist_sized(np.asarray(grey))
    return find_digit(grey, MOST_STEPS)


def as_mnist_sized(pixels: Pixels) -> Prepared | None:
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
    """Return the channel, red, green or blue, in which a picture has most contrast."""
    return max(to_rgb(image).split(), key=lambda channel: float(ImageStat.Stat(channel).var[0]))


def find_digit(grey: Image.Image, steps: int) -> Prepared | None:
    """Return the digit in a grey picture, cropping closer up to `steps` times; None if there is none."""
    working = at_working_size(grey)
    scale = max(grey.size) / max(working.size)
    levels = np.asarray(working, dtype=np.float32)
    sheet = find_sheet(levels) if steps else None
    if sheet:
        found = find_digit(crop_to_sheet(sheet, grey, scale), steps - 1)
        if found or sheet.share > 0.25:  # a smaller one may be the inside of a digit's loop
            return found
    segmentation = segment_digit(find_ink(levels))
    if segmentation is None:
        return find_digit(with_margin(levels), 0) if steps and is_strip(levels) else None
    warning, (rows, columns) = warning_for(segmentation), box_around(segmentation.pieces)
    length = max(rows.stop - rows.start, columns.stop - columns.start)
    if steps and length < ENOUGH and scale > 1:
        room = ROOM * length
        around = (columns.start - room, rows.start - room, columns.stop + room, rows.stop + room)
        closer = find_digit(crop_scaled(grey, around, scale), steps - 1)
        if closer:
            return Prepared(closer.pixels, warning or closer.warning)
    return Prepared(centred(draw_digit(segmentation, (rows, columns))), warning)


def is_strip(levels: Levels) -> bool:
    """Return whether a picture is so narrow and full of contrast that it may be cropped to the ink."""
    return min(levels.shape) < STRIP * max(levels.shape) and float(np.ptp(levels)) > STRIP_CONTRAST


def with_margin(levels: Levels) -> Image.Image:
    """Return a picture with a margin around it in the median tone of its corners."""
    margin = round(MARGIN * max(levels.shape))
    corner = max(1, min(levels.shape) // 10)
    ends = slice(corner), slice(-corner, None)
    paper = float(np.median([levels[y, x].mean() for y in ends for x in ends]))
    return Image.fromarray(np.pad(levels, margin, constant_values=paper))


def box_around(pieces: Sequence[Piece]) -> Box:
    rows = slice(min(piece.rows.start for piece in pieces), max(piece.rows.stop for piece in pieces))
    columns = slice(min(piece.columns.start for piece in pieces), max(piece.columns.stop for piece in pieces))
    return rows, columns


def draw_digit(segmentation: Segmentation, box: Box) -> Image.Image:
    """Return the ink of a digit in its box, with outlined strokes filled."""
    own = segmentation.ink.mask(segmentation.pieces)[box]
    edge = max(1, round(max(segmentation.ink.levels.shape) / 100))  # pixels over which a stroke fades
    share = (segmentation.ink.levels[box] / segmentation.ink.peak - PAPER) * (255 / (1 - PAPER))
    ink = np.where(ndimage.maximum_filter(own, 1 + 2 * edge), share.clip(0, 255).astype(np.uint8), 0)
    ink[inside_of_outline(own)] = 255
    return Image.fromarray(ink)


def at_working_size(grey: Image.Image) -> Image.Image:
    longest = max(grey.size)
    scale = min(max(longest, MIN_WORKING_SIZE), MAX_WORKING_SIZE) / longest
    width, height = (max(1, round(side * scale)) for side in grey.size)
    return grey.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3)


def crop_scaled(grey: Image.Image, box: Sequence[float], scale: float) -> Image.Image:
    """Return the part of a picture in a box given at the working size, cropped to the picture."""
    left, top, right, bottom = (round(side * scale) for side in box)
    return grey.crop((max(0, left), max(0, top), min(grey.width, right), min(grey.height, bottom)))


def crop_to_sheet(sheet: Sheet, grey: Image.Image, scale: float) -> Image.Image:
    """Return the part of a picture that shows a sheet, with paper in place of its surroundings."""
    rows, columns = np.flatnonzero(sheet.mask.any(axis=1)), np.flatnonzero(sheet.mask.any(axis=0))
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    part = crop_scaled(grey, box, scale)
    mask = Image.fromarray(sheet.mask).crop(box).resize(part.size)
    return Image.composite(part, Image.new("L", part.size, round(sheet.level)), mask)


def inside_of_outline(own: Mask) -> Mask:
    """Return the inside of a stroke that is drawn as an outline; empty if strokes are plain lines.

    The inside is a closed gap, no wider than a stroke, with all lines of the digit along it.
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
    """Return a digit scaled into 20 × 20 pixels, stretched to full contrast, its mass centred in 28 × 28.

    Without stretching, thin strokes would come out grey; those of MNIST are white.
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

"""From uploaded bytes to upright pictures, whatever the bytes are."""

import io
import logging
import re
import threading
import warnings
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base as Tag

from serving.blocks import give_back_large_blocks
from serving.claims import check_header
from serving.errors import Problem, TooLargeError, UndecodableImageError, UnsupportedTypeError, echo
from serving.limits import MAX_SIDE
from serving.shrinking import Spare, is_large, shrunk

Pixels = npt.NDArray[np.uint8]

# What cameras, scanners and browsers make. Pillow knows dozens more, each with a decoder that could be
# attacked.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# Of fax machines' compressions, libtiff writes a line to the log for each row that is damaged.
TIFF_COMPRESSIONS = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "jpeg", "zstd")
# Of run lengths, which hardly any BMP has, Pillow's decoder takes a step in Python for every two bytes.
BMP_COMPRESSIONS = (BmpImageFile.COMPRESSIONS["RAW"], BmpImageFile.COMPRESSIONS["BITFIELDS"])
MAX_BYTES_PER_PIXEL = 8  # of memory that decoding may take, for each of the pixels that an image may have
MAX_EXIF_BYTES = 2**20  # far more than a camera writes; read, it takes ten times the memory
UNSPECIFIC_TYPES = ("", "application/octet-stream")  # what clients send that do not look at the file

give_back_large_blocks()
PngImagePlugin.MAX_TEXT_MEMORY = 8 * 2**20  # of the 64 MiB that a few bytes of text could unpack to
# Of damaged files, each in words of its own that Python would remember, and of sizes that are no fault here.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)

Image.MAX_IMAGE_PIXELS = None  # the limit is a setting here, checked before anything is decompressed
pillows_limit = threading.Lock()  # held while it is another; check_header has refused what takes long to open
one_large_image = threading.Lock()  # held while one is decoded, so that the memory for it is needed once


def check_content_type(content_type: str) -> None:
    """Refuse a file that its sender calls something other than an image.

    Raises:
        UnsupportedTypeError: The type is neither an image's nor left open.
    """
    essence = content_type.partition(";")[0].strip().lower()
    if essence not in UNSPECIFIC_TYPES and not essence.startswith("image/"):
        raise UnsupportedTypeError(
            f"The file was sent as {echo(essence)}. Send an image as image/png, image/jpeg or another image "
            "type."
        )


def decode_image(
    data: bytes, *, max_pixels: int, max_side: int = MAX_SIDE, spare: Spare | None = None
) -> Image.Image:
    """Return the first frame of an image file, upright as its EXIF orientation says.

    Args:
        data: The file's bytes.
        max_pixels: Width times height of what is refused before anything is decompressed, if it is more.
        max_side: Width and height, likewise.
        spare: By which factor a picture may come out smaller. A JPEG is decoded at a half, a quarter or an
            eighth of its size, which takes less time; any other is made smaller where it is large. None for
            its full size.

    Raises:
        UndecodableImageError: The bytes are no complete image in one of the formats.
        TooLargeError: The image has too many pixels, or takes too much memory to decode.
        MemoryError: There is too little memory, which is no fault of the image.
    """
    if not data:
        raise UndecodableImageError("The file is empty. Send the bytes of an image.")
    check_header(data)
    try:
        with opened(data, max_pixels) as image:
            check_size(image.size, max_pixels=max_pixels, max_side=max_side)
            check_compression(image)
            check_memory(image, max_pixels)
            with turn_of(image):
                return load(image, spare)
    except UnidentifiedImageError:
        raise UndecodableImageError(
            f"The file is no image in a format known here. Send {', '.join(FORMATS[:-1])} or {FORMATS[-1]}."
        ) from None
    except Image.DecompressionBombError as error:
        raise TooLargeError(too_many(int(re.findall(r"\d+", str(error))[0]), max_pixels)) from None
    except (Problem, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise a dozen types on damaged files
        if "out of memory" in str(error):  # as they call it
            raise MemoryError(str(error)) from error
        raise UndecodableImageError(
            f"The image is damaged ({echo(error)}). Send it again, complete."
        ) from None


def opened(data: bytes, max_pixels: int) -> Image.Image:
    """Return an image of which the header alone is read.

    Some of Pillow's decoders make room for the picture already, and heed a limit of Pillow's own, of which
    there is one for all threads. It is twice what it is set to.
    """
    with pillows_limit:
        usual = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels / 2  # type: ignore[assignment] # a fraction will do
        try:
            return Image.open(io.BytesIO(data), formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def turn_of(image: Image.Image) -> AbstractContextManager[object]:
    """Return what to hold while an image is decoded: a large one waits until no other is."""
    return one_large_image if is_large(image) else nullcontext()


def load(image: Image.Image, spare: Spare | None) -> Image.Image:
    """Decode an opened image, and return it upright."""
    factor = spare(image.size) if spare else 1
    if factor > 1:
        image.draft(None, (max(1, image.width // factor), max(1, image.height // factor)))
    image.load()
    if len(image.info.get("exif", b"")) > MAX_EXIF_BYTES:
        del image.info["exif"]
    picture = shrunk(image, spare)
    return ImageOps.exif_transpose(picture) if picture.info else picture  # which has nothing to turn it by


def check_size(size: tuple[int, int], *, max_pixels: int, max_side: int) -> None:
    """Refuse a picture by what its header claims.

    Raises:
        TooLargeError: It has too many pixels, or too many on a side.
    """
    width, height = size
    if width * height > max_pixels:
        raise TooLargeError(f"The image is {width:,} × {height:,}. " + too_many(width * height, max_pixels))
    if max(size) > max_side:
        raise TooLargeError(
            f"The image is {width:,} × {height:,} pixels. Send at most {max_side:,} on each side."
        )


def too_many(pixels: int, max_pixels: int) -> str:
    return f"The image has {pixels:,} pixels. Send at most {max_pixels:,}."


def check_compression(image: Image.Image) -> None:
    """Refuse a TIFF or BMP compressed in a way that no camera and no browser knows.

    Raises:
        UndecodableImageError: It is.
    """
    compression = image.info.get("compression", "raw")
    if image.format == "BMP" and compression not in BMP_COMPRESSIONS:
        raise UndecodableImageError("The BMP is compressed. Send it uncompressed, or as PNG.")
    if image.format == "TIFF" and compression not in TIFF_COMPRESSIONS:
        raise UndecodableImageError(
            f"The TIFF is compressed by {compression}. Send it uncompressed, or by LZW, Deflate or JPEG."
        )


def check_memory(image: Image.Image, max_pixels: int) -> None:
    """Refuse a picture whose decoder needs much more room than the picture itself.

    Raises:
        TooLargeError: It would need more than MAX_BYTES_PER_PIXEL for each of `max_pixels`.
    """
    needed = 4 * image.width * image.height
    if image.format == "WEBP":
        needed *= 4  # for two canvases and a copy
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.tag_v2.get(Tag.Orientation, 1) != 1:
            needed *= 2  # since it is turned while it is decoded
        needed += tiff_block_bytes(image)
    if needed > MAX_BYTES_PER_PIXEL * max_pixels:
        raise TooLargeError(
            f"The image takes {needed:,} bytes to decode, and {MAX_BYTES_PER_PIXEL * max_pixels:,} are what "
            f"there is. Send it smaller, or as PNG or JPEG rather than {image.format}."
        )


def tiff_block_bytes(image: TiffImagePlugin.TiffImageFile) -> int:
    """Return the size of a TIFF's tile or strip, one of which is unpacked at a time; it may be any size."""
    tags = image.tag_v2
    width, height = tags[Tag.ImageWidth], tags[Tag.ImageLength]
    width, rows = (
        tags.get(Tag.TileWidth, width),
        tags.get(Tag.TileLength, min(height, tags.get(Tag.RowsPerStrip, height))),
    )
    bits = max(tags.get(Tag.BitsPerSample, (1,))) * tags.get(Tag.SamplesPerPixel, 1)
    return int(width * rows * bits // 8)

"""From uploaded bytes to upright pictures, whatever the bytes are."""

import hashlib
import io
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base as Tag

from vision.errors import (
    Problem,
    TooLargeError,
    UndecodableImageError,
    UnsupportedTypeError,
    echo,
)
from vision.images.downscale import Spare, plain, shrunk
from vision.images.header_limits import check_header, scans_of_jpeg
from vision.images.limits import ImageLimits
from vision.libc import give_back_large_blocks

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

# What decoding takes, counted in bytes of the picture and of the file, of which each takes about 10 ns.
QUICK_STEPS = 3_000_000
SLOW_FORMATS = {"WEBP": 2}  # times what the others take
BYTES_PER_SAMPLE = {"I": 4, "F": 4}
USUAL_SCANS = 4  # of a JPEG whose parts are all decoded once
SCANS_AT_A_TIME = 10  # of any other, that take as long as one of these
BLOCK_STEPS = 8  # for each byte of deflated data, most of which may be tables of blocks without content
END_OF_JPEG = b"\xff\xd9"
NO_END = b"\x55" * 64  # data that no scan needs which is complete


class Decode(Protocol):
    """Decodes a picture somewhere else."""

    def __call__(self, data: bytes, *, limits: ImageLimits, spare: Spare | None) -> Image.Image: ...


class Elsewhere(NamedTuple):
    """What decodes the pictures that take more than some number of steps."""

    steps: int
    decode: Decode


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
    data: bytes,
    limits: ImageLimits,
    *,
    spare: Spare | None = None,
    elsewhere: Elsewhere | None = None,
) -> Image.Image:
    """Return the first frame of an image file, upright as its EXIF orientation says.

    Args:
        data: The file's bytes.
        limits: Pixels and sides of what is accepted; more is refused before anything is decompressed.
        spare: By which factor a picture may come out smaller. A JPEG is decoded at a half, a quarter or an
            eighth of its size, which takes less time; any other is made smaller where it is large. None for
            its full size.
        elsewhere: Decodes what takes long. None to decode all here, however long that takes.

    Raises:
        UndecodableImageError: The bytes are no complete image in one of the formats.
        TooLargeError: The image has too many pixels, or takes too much memory to decode.
        MemoryError: There is too little memory, which is no fault of the image.
    """
    if not data:
        raise UndecodableImageError("The file is empty. Send the bytes of an image.")
    if elsewhere is None or len(data) <= elsewhere.steps:
        check_header(data)
        with explained(limits.max_pixels), opened(data, limits.max_pixels) as image:
            check_size(image.size, limits)
            check_compression(image)
            check_memory(image, limits.max_pixels)
            factor = spare(image.size) if spare else 1
            if elsewhere is None or steps_of(image, data, factor) <= elsewhere.steps:
                return load(image, data, spare)
    return elsewhere.decode(data, limits=limits, spare=spare)


@contextmanager
def explained(max_pixels: int) -> Iterator[None]:
    """Say in the service's own words what is wrong with an image.

    Raises:
        UndecodableImageError: It is damaged, or no image.
        TooLargeError: It has too many pixels.
    """
    try:
        yield
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
        fault = ": it ends early" if "truncated" in str(error) else ""
        raise UndecodableImageError(f"The image is damaged{fault}. Send it again, complete.") from None


def steps_of(image: Image.Image, data: bytes, factor: int) -> int:
    """Return how long an opened image takes to decode, in steps of about 10 ns."""
    samples = image.width * image.height * len(image.getbands())
    samples *= 2 if image.mode.startswith("I;16") else BYTES_PER_SAMPLE.get(image.mode, 1)
    samples *= SLOW_FORMATS.get(image.format or "", 1)
    if image.format == "JPEG":
        scans = scans_of_jpeg(data)
        if scans > USUAL_SCANS:
            return samples * (1 + scans // SCANS_AT_A_TIME) + len(data)
        return samples // min(factor, 8) ** 2 + len(data)  # decoded at an eighth of its size, at the least
    if image.format == "PNG":
        return samples * (2 if image.info.get("interlace") else 1) + BLOCK_STEPS * len(data)
    is_deflated = "deflate" in str(image.info.get("compression"))
    return samples + (BLOCK_STEPS if is_deflated else 1) * len(data)


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


def load(image: Image.Image, data: bytes, spare: Spare | None) -> Image.Image:
    """Decode an opened image, and return it upright, with neither a palette nor a transparent colour."""
    factor = spare(image.size) if spare else 1
    enough = max(1, image.width // factor), max(1, image.height // factor)
    image.draft(None, enough)
    try:
        image.load()
    except OSError:
        if image.format != "JPEG":
            raise
        image = load_without_end(data, enough)
    if len(image.info.get("exif", b"")) > MAX_EXIF_BYTES:
        del image.info["exif"]
    picture = plain(shrunk(image, spare))
    return ImageOps.exif_transpose(picture) if picture.info else picture  # which has nothing to turn it by


def load_without_end(data: bytes, enough: tuple[int, int]) -> Image.Image:
    """Decode a JPEG that lacks nothing but the marker of its end, which browsers do not need.

    The decoder makes up what else is missing, and does not say so. But then it also looks at what stands in
    its place, and the picture changes.

    Args:
        data: The file's bytes.
        enough: Width and height that the picture is to have at least.

    Raises:
        OSError: More is missing.
    """
    begun, digests = data.removesuffix(END_OF_JPEG[:1]), set[bytes]()
    for end in (NO_END + END_OF_JPEG, END_OF_JPEG):
        image = Image.open(io.BytesIO(begun + end), formats=["JPEG"])
        image.draft(None, enough)
        image.load()
        digests.add(hashlib.sha256(image.tobytes()).digest())
    if len(digests) > 1:
        raise OSError("The data of the picture is incomplete.")
    return image


def check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    """Refuse a picture by what its header claims.

    Raises:
        TooLargeError: It has too many pixels, or too many on a side.
    """
    width, height = size
    if width * height > limits.max_pixels:
        too_large = too_many(width * height, limits.max_pixels)
        raise TooLargeError(f"The image is {width:,} × {height:,}. {too_large}")
    if max(size) > limits.max_side:
        raise TooLargeError(
            f"The image is {width:,} × {height:,} pixels. Send at most {limits.max_side:,} on each side."
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

"""Decode the bytes of an image file into an upright picture, or say what is wrong with them."""

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

from vision.errors import Problem, TooLargeError, UndecodableImageError, UnsupportedTypeError, echo
from vision.images.downscale import Downscale, downscaled, without_palette
from vision.images.header_limits import check_header, scans_of_jpeg
from vision.images.limits import ImageLimits
from vision.libc import give_back_large_blocks

Pixels = npt.NDArray[np.uint8]

# The formats of cameras, scanners and browsers. Each of Pillow's dozens more is a decoder to attack.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# Without fax compressions, for which libtiff logs a line for each damaged row.
TIFF_COMPRESSIONS = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "jpeg", "zstd")
# Without run-length encoding, which is rare, and which Pillow decodes in a Python loop.
BMP_COMPRESSIONS = (BmpImageFile.COMPRESSIONS["RAW"], BmpImageFile.COMPRESSIONS["BITFIELDS"])
MAX_BYTES_PER_PIXEL = 8  # memory that decoding may take, for each of the pixels that an image may have
MAX_EXIF_BYTES = 2**20  # far more than a camera writes; parsed, it takes ten times the memory
UNSPECIFIC_TYPES = ("", "application/octet-stream")  # sent by clients that do not look at the file

give_back_large_blocks()
PngImagePlugin.MAX_TEXT_MEMORY = 8 * 2**20  # a few bytes of text may unpack to Pillow's default of 64 MiB
# Pillow warns of damaged files in ever new words, which Python would all remember, and of sizes allowed here.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)

Image.MAX_IMAGE_PIXELS = None  # check_size applies the limit, before anything is decompressed
pillows_limit = threading.Lock()  # held while MAX_IMAGE_PIXELS is changed, which is never for long

# The cost of decoding, in steps of about 10 ns. A byte of the picture or of the file is one step.
QUICK_STEPS = 3_000_000
SLOW_FORMATS = {"WEBP": 2}  # steps for a byte of the picture
BYTES_PER_SAMPLE = {"I": 4, "F": 4}
USUAL_SCANS = 4  # a JPEG with up to this many scans decodes each of its parts once
SCANS_AT_A_TIME = 10  # scans of any other JPEG that take as long as decoding it once
BLOCK_STEPS = 8  # for a byte of deflated data, which may be mostly tables of empty blocks
END_OF_JPEG = b"\xff\xd9"
FILLER = b"\x55" * 64  # a complete scan ignores it


class Decode(Protocol):
    """Decodes a picture somewhere else."""

    def __call__(self, data: bytes, *, limits: ImageLimits, downscale: Downscale | None) -> Image.Image: ...


class Offload(NamedTuple):
    """Where pictures are decoded that take more than `steps` steps."""

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
    data: bytes, limits: ImageLimits, *, downscale: Downscale | None = None, offload: Offload | None = None
) -> Image.Image:
    """Return the first frame of an image file, upright as its EXIF orientation says.

    Args:
        data: The file's bytes.
        limits: Pixels and sides of what is accepted; more is refused before anything is decompressed.
        downscale: How far the picture may be downscaled; None to keep its size. A JPEG is decoded at a half,
            a quarter or an eighth of its size, to save time; any other is downscaled if it is large.
        offload: Decodes a picture that takes long; None to decode it here, however long it takes.

    Raises:
        UndecodableImageError: The bytes are no complete image in one of the formats.
        TooLargeError: The image has too many pixels, or takes too much memory to decode.
        MemoryError: There is too little memory, through no fault of the image.
    """
    if not data:
        raise UndecodableImageError("The file is empty. Send the bytes of an image.")
    if offload is None or len(data) <= offload.steps:
        check_header(data)
        with pillow_errors(limits.max_pixels), opened(data, limits.max_pixels) as image:
            check_size(image.size, limits)
            check_compression(image)
            check_memory(image, limits.max_pixels)
            factor = downscale.factor(image.size) if downscale else 1
            if offload is None or decoding_steps(image, data, factor) <= offload.steps:
                return load(image, data, downscale)
    return offload.decode(data, limits=limits, downscale=downscale)


@contextmanager
def pillow_errors(max_pixels: int) -> Iterator[None]:
    """Turn Pillow's errors into this project's."""
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
        if "out of memory" in str(error):  # decoders have no type for it
            raise MemoryError(str(error)) from error
        fault = ": it ends early" if "truncated" in str(error) else ""
        raise UndecodableImageError(f"The image is damaged{fault}. Send it again, complete.") from None


def decoding_steps(image: Image.Image, data: bytes, factor: int) -> int:
    """Return the cost of decoding an opened image, in steps of about 10 ns."""
    samples = image.width * image.height * len(image.getbands())
    samples *= 2 if image.mode.startswith("I;16") else BYTES_PER_SAMPLE.get(image.mode, 1)
    samples *= SLOW_FORMATS.get(image.format or "", 1)
    if image.format == "JPEG":
        scans = scans_of_jpeg(data)
        if scans > USUAL_SCANS:
            return samples * (1 + scans // SCANS_AT_A_TIME) + len(data)
        return samples // min(factor, 8) ** 2 + len(data)  # decoding at less than an eighth is impossible
    if image.format == "PNG":
        return samples * (2 if image.info.get("interlace") else 1) + BLOCK_STEPS * len(data)
    is_deflated = "deflate" in str(image.info.get("compression"))
    return samples + (BLOCK_STEPS if is_deflated else 1) * len(data)


def opened(data: bytes, max_pixels: int) -> Image.Image:
    """Return an image of which only the header has been read.

    Some of Pillow's decoders allocate the picture already. They heed Image.MAX_IMAGE_PIXELS, one number for
    all threads, and refuse an image of more than twice as many pixels.
    """
    with pillows_limit:
        usual = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels / 2  # type: ignore[assignment] # a float works too
        try:
            return Image.open(io.BytesIO(data), formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def load(image: Image.Image, data: bytes, downscale: Downscale | None) -> Image.Image:
    """Decode an opened image, and return it upright, with neither a palette nor a transparent colour."""
    factor = downscale.factor(image.size) if downscale else 1
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
    picture = without_palette(downscaled(image, downscale))
    return ImageOps.exif_transpose(picture) if picture.info else picture


def load_without_end(data: bytes, enough: tuple[int, int]) -> Image.Image:
    """Decode a JPEG that lacks only its end marker, as browsers do, at `enough` width and height or more.

    If more is missing, the decoder invents it without an error. It then depends on the bytes that follow, so
    the file is decoded twice, with different bytes appended, and the pictures are compared.

    Raises:
        OSError: More than the end marker is missing.
    """
    begun, digests = data.removesuffix(END_OF_JPEG[:1]), set[bytes]()
    for end in (FILLER + END_OF_JPEG, END_OF_JPEG):
        image = Image.open(io.BytesIO(begun + end), formats=["JPEG"])
        image.draft(None, enough)
        image.load()
        digests.add(hashlib.sha256(image.tobytes()).digest())
    if len(digests) > 1:
        raise OSError("The data of the picture is incomplete.")
    return image


def check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    """Refuse a picture that has too many pixels, or is too wide or too high, by the size in its header."""
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
    """Refuse a TIFF or BMP compressed in a way that no camera and no browser knows."""
    compression = image.info.get("compression", "raw")
    if image.format == "BMP" and compression not in BMP_COMPRESSIONS:
        raise UndecodableImageError("The BMP is compressed. Send it uncompressed, or as PNG.")
    if image.format == "TIFF" and compression not in TIFF_COMPRESSIONS:
        raise UndecodableImageError(
            f"The TIFF is compressed by {compression}. Send it uncompressed, or by LZW, Deflate or JPEG."
        )


def check_memory(image: Image.Image, max_pixels: int) -> None:
    """Refuse a picture whose decoder needs more than MAX_BYTES_PER_PIXEL for each of `max_pixels`."""
    needed = 4 * image.width * image.height
    if image.format == "WEBP":
        needed *= 4  # for two canvases and a copy
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.tag_v2.get(Tag.Orientation, 1) != 1:
            needed *= 2  # it is rotated while it is decoded
        needed += tiff_block_bytes(image)
    if needed > MAX_BYTES_PER_PIXEL * max_pixels:
        raise TooLargeError(
            f"The image takes {needed:,} bytes to decode, and {MAX_BYTES_PER_PIXEL * max_pixels:,} are what "
            f"there is. Send it smaller, or as PNG or JPEG rather than {image.format}."
        )


def tiff_block_bytes(image: TiffImagePlugin.TiffImageFile) -> int:
    """Return the bytes of one unpacked tile or strip of a TIFF, which can be larger than the picture."""
    tags = image.tag_v2
    width, height = tags.get(Tag.TileWidth, tags[Tag.ImageWidth]), tags[Tag.ImageLength]
    rows = tags.get(Tag.TileLength, min(height, tags.get(Tag.RowsPerStrip, height)))
    bits = max(tags.get(Tag.BitsPerSample, (1,))) * tags.get(Tag.SamplesPerPixel, 1)
    return int(width * rows * bits // 8)

"""From uploaded bytes to upright pictures, whatever the bytes are."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from serving.errors import TooLargeError, UndecodableImageError, UnsupportedTypeError

Pixels = npt.NDArray[np.uint8]

# What cameras, scanners and browsers make. Pillow knows dozens more, each with a decoder that could be
# attacked.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
MAX_PIXELS = 50_000_000  # unless the service's settings say otherwise
MAX_SIDE = 30_000
UNSPECIFIC_TYPES = ("", "application/octet-stream")  # what clients send that do not look at the file

Image.MAX_IMAGE_PIXELS = None  # the limit is a setting here, checked before anything is decompressed


def check_content_type(content_type: str) -> None:
    """Refuse a file that its sender calls something other than an image.

    Raises:
        UnsupportedTypeError: The type is neither an image's nor left open.
    """
    essence = content_type.partition(";")[0].strip().lower()
    if essence not in UNSPECIFIC_TYPES and not essence.startswith("image/"):
        raise UnsupportedTypeError(
            f"The file was sent as {essence}. Send an image as image/png, image/jpeg or another image type."
        )


def decode_image(data: bytes, *, max_pixels: int, draft_side: int | None = None) -> Image.Image:
    """Return the first frame of an image file, upright as its EXIF orientation says.

    Args:
        data: The file's bytes.
        max_pixels: Width times height that is refused before anything is decompressed.
        draft_side: A JPEG may come out at a half, a quarter or an eighth of its size, which takes less time,
            as long as its short side keeps so many pixels; None for its full size.

    Raises:
        UndecodableImageError: The bytes are no complete image in one of the formats.
        TooLargeError: The image has too many pixels.
    """
    if not data:
        raise UndecodableImageError("The file is empty. Send the bytes of an image.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            check_size(image, max_pixels)
            if draft_side is not None:
                image.draft(None, (draft_side, draft_side))
            image.load()
            return ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise UndecodableImageError(
            f"The file is no image in a format known here. Send {', '.join(FORMATS[:-1])} or {FORMATS[-1]}."
        ) from None
    except TooLargeError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise a dozen types on damaged files
        raise UndecodableImageError(f"The image is damaged ({error}). Send it again, complete.") from None


def check_size(image: Image.Image, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise TooLargeError(
            f"The image has {image.width} × {image.height} = {pixels:,} pixels. Send at most {max_pixels:,}."
        )


def to_greyscale(image: Image.Image) -> Image.Image:
    """Return an 8-bit greyscale picture (mode L) of an image in any of Pillow's modes.

    Where the image is transparent, the background becomes what contrasts with the ink.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return deep_to_greyscale(image)
    if image.mode == "LAB":  # Pillow converts it to no other mode; its lightness is what is wanted
        return image.getchannel("L")
    if not image.has_transparency_data:
        return image.convert("L")
    image = image.convert("LA")
    ink, opacity = image.getchannel("L"), image.getchannel("A")
    visible = ink.histogram(mask=opacity.point(lambda alpha: 255 if alpha else 0))
    mean = sum(level * count for level, count in enumerate(visible)) / max(1, sum(visible))
    background = Image.new("L", image.size, 0 if mean > 127 else 255)
    return Image.composite(ink, background, opacity)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an 8-bit colour picture (mode RGB) of an image in any of Pillow's modes.

    Where the image is transparent, the background becomes white.
    """
    if image.mode == "RGB":
        return image
    if image.mode in ("I", "F", "LAB") or image.mode.startswith("I;16"):
        return to_greyscale(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def deep_to_greyscale(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and floating-point pixels to 8 bits, by the smallest range that holds them."""
    values = np.nan_to_num(np.asarray(image).astype(np.float32)).astype(np.float64)
    darkest, brightest = min(float(values.min()), 0), float(values.max())
    ranges = (1, 255, 65535) if image.mode == "F" else (255, 65535)
    white = next((top for top in ranges if brightest <= top), brightest)
    return Image.fromarray(((values - darkest) * (255 / (white - darkest))).astype(np.uint8))

"""Downscale large pictures as soon as they are decoded, as far as their model allows."""

import math
from dataclasses import dataclass
from typing import Literal

from PIL import Image


@dataclass(frozen=True)
class Downscale:
    """How far a picture may be downscaled before it is prepared.

    Attributes:
        side: The side that limits it.
        pixels: Length that this side keeps at least.
    """

    side: Literal["longer", "shorter"]
    pixels: int

    def factor(self, size: tuple[int, int]) -> int:
        """Return the integer downscale factor allowed for (width, height)."""
        return max(1, (max(size) if self.side == "longer" else min(size)) // self.pixels)


# Pictures of up to this many pixels keep their size. Larger ones would take too much memory.
LARGE_PIXELS = 4_000_000
STRIP_PIXELS = 1_000_000  # converted at a time


def downscaled(image: Image.Image, downscale: Downscale | None) -> Image.Image:
    """Return a large picture downscaled as far as its model allows, and any other as it is.

    Each pixel becomes the mean of a square of pixels.
    """
    is_large = image.width * image.height > LARGE_PIXELS
    factor = downscale.factor(image.size) if downscale and is_large else 1
    if factor == 1:
        return image
    rows = max(1, STRIP_PIXELS // (image.width * factor)) * factor
    whole: Image.Image | None = None
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        mean = averageable(strip).reduce(factor)
        whole = whole or Image.new(mean.mode, (mean.width, math.ceil(image.height / factor)))
        whole.paste(mean, (0, top // factor))
    assert whole is not None  # a picture has at least one row
    whole.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return whole


def averageable(image: Image.Image) -> Image.Image:
    """Return an image in a mode whose pixels can be averaged."""
    if image.mode.startswith("I;16"):
        return image.convert("I")
    picture = without_palette(image)
    return picture.convert("L") if picture.mode == "1" else picture


def without_palette(image: Image.Image) -> Image.Image:
    """Return an image without a palette, and with an alpha channel in place of a transparent colour.

    A damaged palette raises an error when it is used. Using it here makes that an error of decoding.
    """
    if image.mode not in {"LA", "La", "RGBA", "RGBa"} and image.has_transparency_data and not is_deep(image):
        return image.convert("LA" if image.mode in {"1", "L"} else "RGBA")
    return image.convert("RGB") if image.mode in {"P", "PA"} else image


def is_deep(image: Image.Image) -> bool:
    return image.mode in {"I", "F"} or image.mode.startswith("I;16")

"""Large pictures made smaller as soon as they are decoded, where a model wants less of them."""

import math
from dataclasses import dataclass
from typing import Literal

from PIL import Image


@dataclass(frozen=True)
class Spare:
    """The whole factor by which a picture may be made smaller before it is prepared, by its width and height.

    It leaves one of the picture's sides at least some number of pixels long.
    """

    side: Literal["longer", "shorter"]
    pixels: int

    def __call__(self, size: tuple[int, int]) -> int:
        return max(1, (max(size) if self.side == "longer" else min(size)) // self.pixels)


# Pictures of up to so many pixels are prepared exactly as they are. Larger ones would take too much memory.
LARGE_PIXELS = 4_000_000
STRIP_PIXELS = 1_000_000  # that are converted at a time


def shrunk(image: Image.Image, spare: Spare | None) -> Image.Image:
    """Return a picture of which a large one has as few pixels as its model can spare, any other as it is.

    Each pixel becomes the mean of a square of them.
    """
    factor = spare(image.size) if spare and is_large(image) else 1
    if factor == 1:
        return image
    rows = max(1, STRIP_PIXELS // (image.width * factor)) * factor
    whole: Image.Image | None = None
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        mean = averageable(strip).reduce(factor)
        if whole is None:
            whole = Image.new(mean.mode, (mean.width, math.ceil(image.height / factor)))
        whole.paste(mean, (0, top // factor))
    assert whole is not None  # a picture has at least one row
    whole.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return whole


def is_large(image: Image.Image) -> bool:
    return image.width * image.height > LARGE_PIXELS


def averageable(image: Image.Image) -> Image.Image:
    """Return an image in a mode whose pixels have a mean."""
    if image.mode.startswith("I;16"):
        return image.convert("I")
    picture = plain(image)
    return picture.convert("L") if picture.mode == "1" else picture


def plain(image: Image.Image) -> Image.Image:
    """Return an image whose pixels are what they show, neither indices of a palette nor a transparent colour.

    A palette's faults come to light when it is used, which is to be while the image is decoded.
    """
    if image.mode not in {"LA", "La", "RGBA", "RGBa"} and image.has_transparency_data and not is_deep(image):
        return image.convert("LA" if image.mode in {"1", "L"} else "RGBA")
    return image.convert("RGB") if image.mode in {"P", "PA"} else image


def is_deep(image: Image.Image) -> bool:
    return image.mode in {"I", "F"} or image.mode.startswith("I;16")

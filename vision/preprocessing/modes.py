"""Convert pictures in any of Pillow's modes to 8-bit grey or colour."""

import numpy as np
from PIL import Image
from scipy import ndimage

from vision.images.downscale import is_deep

# White is the top of the smallest range that holds a picture: cameras store 10, 12 or 14 bits in 16.
# Floating-point levels go up to 1, and a little beyond after resizing.
WHITES = (255, 1023, 4095, 16383, 65535)
OVERSHOOT = 1.25
DIM = 64  # a floating-point maximum between 1 and this is of no usual range

OPAQUE = 8  # levels; opacity that varies by less shows nothing
TWO_TONES = 25  # levels of grey; with less contrast in what is visible, opacity shows the strokes
WIDE = 0.18  # of the visible part's long side; strokes are narrower, a card is wider
CARD_SIDE = 64  # pixels, to which the visible part is reduced to measure that


def to_greyscale(image: Image.Image) -> Image.Image:
    """Return an 8-bit greyscale picture (mode L) of an image in any of Pillow's modes.

    The colours of transparent pixels are ignored. Strokes on a transparent ground come out light on dark, by
    their opacity. A card with a transparent margin loses the margin, and its transparent parts become paper.
    """
    if is_deep(image):
        return deep_to_greyscale(image)
    if image.mode == "LAB":  # Pillow converts it to no other mode; L is its lightness
        return image.getchannel("L")
    if not image.has_transparency_data:
        return image.convert("L")
    grey, opacity = image.convert("LA").split()
    levels = np.flatnonzero(opacity.histogram())
    least, most = int(levels[0]), int(levels[-1])
    if most - least < OPAQUE:
        return grey if most else opacity
    visible = opacity.point(lambda alpha: 255 if alpha > most / 2 else 0)
    box = visible.getbbox()
    counts = np.cumsum(grey.histogram(mask=visible))
    darkest, paper, lightest = np.searchsorted(counts, [1, (counts[-1] + 1) // 2, counts[-1]])
    if lightest - darkest < TWO_TONES or not is_wide(visible.crop(box)):
        return opacity
    return Image.composite(grey, Image.new("L", grey.size, int(paper)), visible).crop(box)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an 8-bit colour picture (mode RGB) of an image in any of Pillow's modes.

    A transparent margin is cropped, and other transparent parts become white.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if is_deep(image) or image.mode == "LAB":
        return to_greyscale(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    image = image.crop(image.getchannel("A").getbbox())
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def deep_to_greyscale(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and floating-point pixels to 8 bits, by the smallest range that holds them."""
    finite = np.asarray(image).astype(np.float32)
    values = np.nan_to_num(finite, copy=False, posinf=0, neginf=0).astype(np.float64)
    darkest, brightest = min(float(values.min()), 0), float(values.max())
    if image.mode != "F":
        white = next((top for top in WHITES if brightest <= top), brightest)
    elif OVERSHOOT < brightest < DIM:
        white = brightest
    else:
        white = next((top for top in (1, *WHITES) if brightest <= OVERSHOOT * top), brightest)
    values -= darkest
    values *= 255 / (white - darkest)
    np.rint(values, out=values).clip(0, 255, out=values)
    return Image.fromarray(values.astype(np.uint8))


def is_wide(visible: Image.Image) -> bool:
    """Return whether the visible part of a picture is a card rather than strokes."""
    small = np.pad(np.asarray(visible.reduce(max(1, max(visible.size) // CARD_SIDE))) > 127, 1)
    inside = ndimage.distance_transform_cdt(small, metric="chessboard")
    return bool(inside.max() >= WIDE * max(small.shape))

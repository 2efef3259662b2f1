"""Downscaled pictures look the same, and pictures that are not large keep their size."""

import numpy as np
import pytest
from PIL import Image

from vision.images.decode import decode_image
from vision.images.downscale import Downscale, downscaled
from vision.images.limits import ImageLimits
from vision.preprocessing.modes import to_greyscale, to_rgb

MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "I;16B", "I", "F"]
SIZE = (2500, 1999)  # of no whole number of squares
BY_FOUR = Downscale("shorter", min(SIZE) // 4)


def large(mode: str) -> Image.Image:
    """A picture that gets lighter downwards."""
    grey = Image.linear_gradient("L").resize(SIZE)
    if mode.startswith("I;16"):
        order = ">u2" if mode == "I;16B" else "<u2"
        values = (np.asarray(grey).astype(np.uint16) * 257).astype(order)
        return Image.frombytes(mode, SIZE, values.tobytes())
    if mode == "PA":
        return Image.merge("RGBA", [grey] * 3 + [Image.new("L", SIZE, 255)]).convert("PA")
    if mode == "LAB":
        return Image.merge("LAB", [grey, Image.new("L", SIZE, 128), Image.new("L", SIZE, 128)])
    return grey.convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_large_picture_of_any_mode_looks_the_same_when_it_is_made_smaller(mode):
    image = large(mode)

    small = downscaled(image, BY_FOUR)

    assert small.size == (625, 500)
    expected = np.asarray(to_greyscale(image).resize(small.size, Image.Resampling.BOX), float)
    assert np.abs(np.asarray(to_greyscale(small), float) - expected).mean() < 5
    assert to_rgb(small).size == (625, 500)


@pytest.mark.parametrize("key", [(0, 0, 0), (255, 255, 255)], ids=["black", "white"])
def test_a_colour_that_stands_for_transparent_stays_so(key):
    image = Image.new("RGB", SIZE, key)
    image.paste((200, 30, 30), (0, 0, 1000, 1000))
    image.info["transparency"] = key

    small = downscaled(image, BY_FOUR)

    assert small.getchannel("A").getpixel((600, 400)) == 0
    assert small.getchannel("A").getpixel((100, 100)) == 255


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1999, 1999), (1999, 1999)), ((2001, 2001), (501, 501)), ((40_000, 150), (10_000, 38))],
    ids=["not large", "large", "long"],
)
def test_only_a_large_picture_is_made_smaller(size, expected):
    assert downscaled(Image.new("L", size), Downscale("shorter", min(size) // 4)).size == expected


def test_a_large_picture_is_turned_upright_after_it_was_made_smaller(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = large("L")
    image.save(tmp_path / "turned.png", exif=exif, compress_level=1)

    upright = decode_image(
        (tmp_path / "turned.png").read_bytes(), ImageLimits(max_pixels=10**7), downscale=BY_FOUR
    )

    assert upright.size == (500, 625)
    assert upright.getpixel((499, 300)) < 10  # what was on top is on the right
    assert upright.getpixel((0, 300)) > 245

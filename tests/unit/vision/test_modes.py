"""Pictures of any mode, made grey or colourful."""

import numpy as np
import pytest
from PIL import Image

from vision.preprocessing.modes import to_greyscale, to_rgb


@pytest.mark.parametrize(
    ("pixel", "mode"),
    [(40_000, "I;16"), (40_000, "I"), (0.6, "F"), (156, "L"), ((156, 156, 156), "RGB"), (1, "1")],
    ids=str,
)
def test_every_mode_becomes_grey_at_the_same_brightness(pixel, mode):
    image = Image.new(mode, (5, 4), pixel)

    grey = to_greyscale(image)

    assert (grey.mode, grey.size) == ("L", (5, 4))
    expected = 255 if mode == "1" else 155
    assert abs(grey.getpixel((0, 0)) - expected) <= 3


@pytest.mark.parametrize("mode", Image.MODES)
def test_no_mode_of_pillow_is_unknown(mode):
    assert to_greyscale(Image.new(mode, (3, 2))).mode == "L"


def test_values_that_are_not_finite_do_not_spoil_a_floating_point_image():
    pixels = np.full((4, 4), 0.5, dtype=np.float32)
    pixels[0, 0], pixels[1, 1] = np.nan, -np.inf

    grey = to_greyscale(Image.fromarray(pixels))

    assert grey.getpixel((3, 3)) == 128


@pytest.mark.parametrize("ink", [0, 128, 255], ids=["dark ink", "grey ink", "light ink"])
def test_ink_on_nothing_is_light_on_dark_whatever_its_colour(ink):
    image = Image.new("RGBA", (10, 10), (128, 128, 128, 0))
    image.paste((ink, ink, ink, 255), (2, 2, 4, 9))

    grey = np.asarray(to_greyscale(image))

    assert grey[3, 3] == 255
    assert grey[8, 8] == 0


def test_of_a_card_with_a_transparent_margin_the_card_is_left():
    image = Image.new("LA", (300, 200), (0, 0))
    image.paste((240, 255), (50, 20, 250, 180))
    image.paste((30, 255), (100, 60, 120, 140))

    grey = to_greyscale(image)

    assert grey.size == (200, 160)
    assert grey.getextrema() == (30, 240)


def test_a_hole_in_a_card_becomes_its_paper():
    image = Image.new("LA", (100, 100), (240, 255))
    image.paste((30, 255), (40, 20, 60, 80))
    image.paste((0, 0), (0, 0, 10, 10))

    assert to_greyscale(image).getpixel((5, 5)) == 240


@pytest.mark.parametrize(
    ("white", "kind", "grey"),
    [
        (255, np.uint16, 255),
        (1023, np.uint16, 255),
        (4095, np.uint16, 255),
        (65535, np.uint16, 255),
        (1.0, np.float32, 255),
        (1.02, np.float32, 255),
        (5.0, np.float32, 255),
        (255.0, np.float32, 255),
        (0.25, np.float32, 64),
        (30_000, np.uint16, 117),
    ],
)
def test_the_range_of_a_deep_picture_is_the_smallest_that_holds_it(white, kind, grey):
    """A dark picture stays dark, and ten bits in sixteen are not black."""
    image = Image.fromarray(np.array([[0, white / 2, white]]).astype(kind))

    lightest = to_greyscale(image).getextrema()[1]

    assert abs(lightest - grey) <= 1


def test_of_a_photograph_with_a_transparent_margin_the_margin_is_cut_off():
    image = Image.new("RGBA", (300, 200), (0, 0, 0, 0))
    image.paste((200, 40, 30, 255), (50, 20, 250, 180))

    colours = to_rgb(image)

    assert colours.size == (200, 160)
    assert colours.getextrema() == ((200, 200), (40, 40), (30, 30))

"""The digit of a picture, as MNIST would hold it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from vision.errors import NoDigitError
from vision.preprocessing.mnist import to_mnist
from vision.preprocessing.prepared import WarningKind


def bar(size: tuple[int, int] = (300, 200), box: tuple[int, ...] = (220, 20, 240, 120)) -> Image.Image:
    """A dark bar on white paper, like a 1."""
    image = Image.new("L", size, 255)
    image.paste(0, box)
    return image


def pixels_of(image: Image.Image) -> np.ndarray:
    return to_mnist(image).pixels[0]


def test_an_image_of_mnists_own_is_taken_bit_for_bit(held_out):
    for digit in held_out.images.numpy():
        assert np.array_equal(pixels_of(Image.fromarray(digit)), digit)


def test_an_image_of_mnists_size_that_is_dark_on_light_is_inverted(held_out):
    for digit in held_out.images[:100].numpy():
        stretched = digit * (255 / digit.max())  # since some of MNIST's end at 253
        assert np.abs(pixels_of(Image.fromarray(255 - digit)) - stretched).max() < 1


def test_grey_paper_becomes_black_and_grey_ink_white():
    image = Image.new("L", (28, 28), 180)
    image.paste(60, (12, 5, 16, 23))

    assert np.unique(pixels_of(image)).tolist() == [0, 255]


def test_the_digit_fills_20_pixels_and_its_mass_is_centred():
    digit = pixels_of(bar()).astype(float)

    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    assert rows[-1] - rows[0] + 1 == 20
    assert abs(rows.mean() - 13.5) <= 0.5
    assert abs(columns.mean() - 13.5) <= 0.5


def test_the_strokes_of_a_thin_pen_are_as_white_as_those_of_a_thick_one():
    assert pixels_of(bar(box=(150, 20, 152, 180))).max() == 255


def test_a_speck_beside_the_digit_does_not_move_it():
    clean = bar((200, 200), (80, 40, 110, 160))
    speckled = clean.copy()
    speckled.paste(0, (5, 5, 9, 9))

    difference = pixels_of(clean).astype(float) - pixels_of(speckled)

    assert np.abs(difference).max() <= 20


@pytest.mark.parametrize(
    "draw",
    [
        lambda draw: draw.rectangle((0, 0, 299, 299), outline=0, width=4),
        lambda draw: draw.rectangle((20, 20, 279, 279), outline=0, width=4),
        lambda draw: draw.line((0, 295, 299, 295), fill=0, width=5),
        lambda draw: draw.rectangle((0, 0, 299, 20), fill=90),
        lambda draw: draw.line((110, 225, 190, 225), fill=0, width=6),
        lambda draw: [draw.ellipse((8, y, 26, y + 18), fill=30) for y in (60, 220)],
    ],
    ids=["a frame", "a cell's border", "a line at the edge", "a margin of the desk", "an underline", "holes"],
)
def test_what_is_no_digit_does_not_change_it(draw):
    alone = bar((300, 300), (140, 100, 160, 200))
    with_something = alone.copy()
    draw(ImageDraw.Draw(with_something))

    assert np.abs(pixels_of(alone).astype(float) - pixels_of(with_something)).max() <= 40


@pytest.mark.parametrize("desk", [40, 120])
@pytest.mark.parametrize("angle", [0, 8])
def test_a_sheet_is_told_from_the_desk_that_it_lies_on(desk, angle):
    sheet = bar((300, 300), (140, 100, 160, 200))
    picture = Image.new("L", (460, 420), desk)
    picture.paste(sheet, (100, 60))

    seen = pixels_of(picture.rotate(angle, Image.Resampling.BILINEAR, fillcolor=desk))

    alone = pixels_of(sheet.rotate(angle, Image.Resampling.BILINEAR, fillcolor=255))
    assert np.abs(seen.astype(float) - alone).mean() < 8


def test_a_digit_cropped_to_its_ink_is_seen_as_with_a_margin():
    image = Image.new("L", (60, 220), 255)
    ImageDraw.Draw(image).polygon([(0, 0), (25, 0), (59, 219), (34, 219)], fill=0)
    with_margin = Image.new("L", (260, 420), 255)
    with_margin.paste(image, (100, 100))

    assert np.abs(pixels_of(image).astype(float) - pixels_of(with_margin)).mean() < 4


def test_a_stroke_of_which_only_the_outline_is_drawn_is_filled():
    outline, plain = Image.new("L", (300, 300), 255), bar((300, 300), (130, 50, 160, 250))
    ImageDraw.Draw(outline).rectangle((130, 50, 159, 249), outline=0, width=2)

    assert np.abs(pixels_of(outline).astype(float) - pixels_of(plain)).mean() < 4


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("size", [(100, 80), (28, 28), (1, 1), (1, 300)], ids=str)
def test_a_blank_picture_has_no_digit(level, size):
    with pytest.raises(NoDigitError, match="Send one that shows a digit"):
        to_mnist(Image.new("L", size, level))


def test_ink_as_bright_as_its_paper_is_seen_by_its_colour():
    image = Image.new("RGB", (200, 200), (0, 130, 0))
    image.paste((255, 0, 0), (90, 40, 110, 160))

    assert pixels_of(image).max() == 255


def test_what_lies_below_full_transparency_is_not_seen():
    image = Image.new("RGBA", (200, 200), (255, 255, 255, 0))
    image.paste((0, 0, 0, 0), (90, 40, 110, 160))

    with pytest.raises(NoDigitError):
        to_mnist(image)


@pytest.mark.parametrize(
    ("boxes", "warning"),
    [
        ([(140, 60, 165, 240)], None),
        ([(60, 60, 85, 240), (200, 60, 225, 240)], WarningKind.SEVERAL_DIGITS),
        ([(60, 60, 85, 240), (280, 80, 300, 240)], WarningKind.SEVERAL_DIGITS),
        ([(60, 60, 85, 240), (200, 0, 206, 300)], None),
        ([(100, 100, 200, 200)], WarningKind.NO_STROKES),
        (
            [(x, y, x + 22, y + 22) for x in range(20, 270, 45) for y in range(20, 270, 45)],
            WarningKind.CLUTTERED,
        ),
    ],
    ids=["one stroke", "two digits", "two, one of them cut off", "a line across", "a square", "a pattern"],
)
def test_what_is_unlike_a_digit_is_said(boxes, warning):
    image = Image.new("L", (300, 300), 255)
    for box in boxes:
        image.paste(0, box)

    assert to_mnist(image).warning == warning


@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    mode=st.sampled_from(
        ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"]
    ),
    seed=st.integers(0, 99),
)
@settings(max_examples=200)
def test_whatever_an_image_holds_it_becomes_28_by_28_or_has_no_digit(width, height, mode, seed):
    noise = np.random.default_rng(seed).bytes(width * height * 4)
    size = len(Image.new(mode, (width, height)).tobytes())
    image = Image.frombytes(mode, (width, height), noise[:size])

    try:
        assert to_mnist(image).pixels.shape == (1, 28, 28)
    except NoDigitError:
        assert (width, height) != (28, 28)  # where noise is taken as it is


@given(
    shapes=st.lists(
        st.tuples(*[st.integers(-20, 320)] * 4, st.sampled_from(["ellipse", "rectangle", "line"])),
        min_size=1,
        max_size=12,
    ),
    paper=st.integers(0, 255),
    ink=st.integers(0, 255),
    width=st.integers(1, 40),
)
@settings(max_examples=200)
def test_whatever_is_drawn_dark_on_light_or_light_on_dark_comes_out_with_full_contrast_or_not_at_all(
    shapes, paper, ink, width
):
    image = Image.new("L", (300, 300), paper)
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom, shape in shapes:
        box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
        if shape == "line":
            draw.line((left, top, right, bottom), fill=ink, width=width)
        else:
            getattr(draw, shape)(box, outline=ink, width=width)

    for picture in (image, image.point(lambda level: 255 - level)):
        try:
            prepared = to_mnist(picture)
        except NoDigitError:
            continue
        assert prepared.pixels.shape == (1, 28, 28)
        assert prepared.pixels.max() == 255


@pytest.mark.parametrize("size", [(1, 1000), (3000, 2), (2, 3), (28, 27)], ids=str)
def test_an_image_of_any_size_is_a_digit_or_none(size):
    noise = np.random.default_rng(0).integers(0, 256, size[::-1], dtype=np.uint8)

    try:
        assert to_mnist(Image.fromarray(noise)).pixels.shape == (1, 28, 28)
    except NoDigitError as error:
        assert error.kind == "no-digit"  # noqa: PT017 - either outcome is right

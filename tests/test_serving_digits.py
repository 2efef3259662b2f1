"""Pictures of digits: however one is taken, it is the digit that it was."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageOps

from serving.digits import to_mnist
from serving.images import decode_image

ORIENTATION = 0x0112
DIGITS = 100


def file(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def enlarged(digit: Image.Image, size: int) -> Image.Image:
    return digit.resize((size, size), Image.Resampling.BICUBIC)


def photograph(digit: Image.Image, seed: int) -> Image.Image:
    """A digit in dark ink on paper, anywhere on it, unevenly lit, with noise, 300 × 400 RGB."""
    rng = np.random.default_rng(seed)
    ink = np.zeros((400, 300))
    top, left = rng.integers(20, 200), rng.integers(10, 110)
    ink[top : top + 180, left : left + 180] = np.asarray(enlarged(digit, 180)) / 255
    rows, columns = np.mgrid[:400, :300]
    light = 1 - rng.uniform(0, 0.35) * columns / 300 - rng.uniform(0, 0.3) * rows / 400
    paper = rng.uniform(150, 230) * (1 - 0.8 * ink) * light + rng.normal(0, 6, (400, 300))
    picture = Image.fromarray(paper.clip(0, 255).astype(np.uint8))
    return picture.filter(ImageFilter.GaussianBlur(1)).convert("RGB")


def dark_on_light_photograph(digit: Image.Image, seed: int) -> bytes:
    return file(photograph(digit, seed), "PNG")


def palette_gif(digit: Image.Image, seed: int) -> bytes:
    return file(ImageOps.invert(enlarged(digit, 120)).convert("P", palette=Image.Palette.ADAPTIVE), "GIF")


def sixteen_bit_png(digit: Image.Image, seed: int) -> bytes:
    return file(Image.fromarray(np.asarray(enlarged(digit, 140)).astype(np.uint16) * 257), "PNG")


def exif_rotated_jpeg(digit: Image.Image, seed: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return file(photograph(digit, seed).rotate(90, expand=True), "JPEG", quality=80, exif=exif)


def rgba_png(digit: Image.Image, seed: int) -> bytes:
    ink = enlarged(digit, 200)
    image = Image.new("RGBA", ink.size, (20, 20, 120, 0))
    image.putalpha(ink)
    return file(image, "PNG")


def small_png(digit: Image.Image, seed: int) -> bytes:
    return file(enlarged(digit, 20), "PNG")


@pytest.mark.parametrize(
    "take",
    [dark_on_light_photograph, palette_gif, sixteen_bit_png, exif_rotated_jpeg, rgba_png, small_png],
    ids=lambda take: take.__name__,
)
def test_a_digit_is_the_same_digit_however_it_is_taken(take: Callable, classifier, held_out):
    """The odd one of a hundred may be read otherwise: the classifier itself is not always sure."""
    digits = [Image.fromarray(image.numpy()) for image in held_out.images[:DIGITS]]
    pictures = [decode_image(take(digit, seed), max_pixels=10**6) for seed, digit in enumerate(digits)]

    as_taken, _ = classifier.predict([classifier.preparation.prepare(picture) for picture in pictures])
    as_they_are, _ = classifier.predict([classifier.preparation.prepare(digit) for digit in digits])

    same = int((as_taken.argmax(1) == as_they_are.argmax(1)).sum())
    right = int((as_taken.argmax(1) == held_out.labels[:DIGITS]).sum())
    assert same >= 0.98 * DIGITS
    assert right >= 0.97 * DIGITS


def test_an_image_of_mnists_size_is_taken_as_it_is(held_out):
    pixels = held_out.images[0].numpy()

    assert np.array_equal(to_mnist(Image.fromarray(pixels)), pixels)
    assert np.array_equal(to_mnist(Image.fromarray(255 - pixels)), 255 - pixels)


def test_the_digit_fills_20_pixels_and_its_mass_is_centred():
    square = Image.new("L", (300, 200), 255)
    square.paste(0, (220, 20, 240, 120))

    digit = to_mnist(square).astype(float)

    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    assert rows[-1] - rows[0] + 1 == 20
    assert abs(rows.mean() - 13.5) <= 0.5
    assert abs(columns.mean() - 13.5) <= 0.5


def test_a_speck_beside_the_digit_does_not_move_it():
    clean = Image.new("L", (200, 200), 255)
    clean.paste(0, (80, 40, 110, 160))
    speckled = clean.copy()
    speckled.paste(0, (5, 5, 9, 9))

    difference = to_mnist(clean).astype(float) - to_mnist(speckled)

    assert np.abs(difference).max() <= 20


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_sheet_comes_out_black(level):
    assert not to_mnist(Image.new("L", (100, 80), level)).any()


@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    mode=st.sampled_from(
        ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"]
    ),
    seed=st.integers(0, 99),
)
@settings(max_examples=200)
def test_whatever_an_image_holds_it_becomes_28_by_28(width, height, mode, seed):
    noise = np.random.default_rng(seed).bytes(width * height * 4)
    size = len(Image.new(mode, (width, height)).tobytes())

    image = Image.frombytes(mode, (width, height), noise[:size])

    assert to_mnist(image).shape == (28, 28)


@pytest.mark.parametrize("size", [(1, 1), (1, 1000), (3000, 2), (2, 3), (28, 27)], ids=str)
def test_every_size_of_image_becomes_28_by_28(size):
    noise = np.random.default_rng(0).integers(0, 256, size[::-1], dtype=np.uint8)

    assert to_mnist(Image.fromarray(noise)).shape == (28, 28)

"""Decoding: every usual kind of image file is read upright, and what is no image is told so."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.errors import Problem, TooLargeError, UndecodableImageError, UnsupportedTypeError
from serving.images import check_content_type, decode_image

MAX_PIXELS = 1_000_000
ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    return Image.linear_gradient("L").resize((width, height))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_every_usual_format_is_read(kind):
    decoded = decode_image(encoded(gradient(), kind), max_pixels=MAX_PIXELS)

    assert decoded.size == (40, 30)
    difference = np.asarray(decoded.convert("L"), float) - np.asarray(gradient(), float)
    assert np.abs(difference).max() <= 8


def test_an_image_is_turned_upright_as_its_exif_orientation_says():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = encoded(gradient().rotate(90, expand=True), "JPEG", exif=exif)

    upright = decode_image(turned, max_pixels=MAX_PIXELS)

    assert upright.size == (40, 30)
    difference = np.asarray(upright.convert("L"), float) - np.asarray(gradient(), float)
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"hello, this is text", id="text"),
        pytest.param(encoded(gradient(), "PNG")[:60], id="half a PNG"),
        pytest.param(encoded(gradient(), "JPEG")[:300], id="half a JPEG"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", id="SVG"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", id="PostScript"),
    ],
)
def test_what_is_no_image_is_undecodable(data):
    with pytest.raises(UndecodableImageError) as raised:
        decode_image(data, max_pixels=MAX_PIXELS)

    assert "Send" in raised.value.detail


def test_an_image_with_too_many_pixels_is_refused_before_it_is_decompressed():
    """A few bytes can claim to be a picture of any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )

    with pytest.raises(TooLargeError, match="1,000,000"):
        decode_image(bomb, max_pixels=MAX_PIXELS)


def broken(kind: str) -> bytes:
    """An image of 2,000 × 4 of which the header is whole, and what follows cannot be decoded."""
    noise = np.random.default_rng(0).integers(0, 256, (4, 2000), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    if kind == "WEBP":  # of which the end must be there for the header to be read
        return data[: len(data) // 2] + b"\xff" * (len(data) - len(data) // 2)
    return data[: len(data) // 2]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_an_image_with_too_long_a_side_is_refused_before_it_is_decompressed(kind):
    data = broken(kind)

    with pytest.raises(TooLargeError, match=r"2,000 × 4 pixels. Send at most 1,999 on each side"):
        decode_image(data, max_pixels=MAX_PIXELS, max_side=1999)
    with pytest.raises(UndecodableImageError):
        decode_image(data, max_pixels=MAX_PIXELS, max_side=2000)


@given(data=st.binary(max_size=300), kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
@settings(max_examples=300)
def test_damage_anywhere_in_a_file_is_a_problem_or_a_picture(data, kind):
    """Whatever a decoder makes of random bytes, no other exception gets out."""
    whole = encoded(gradient(), kind)
    position = sum(data) % len(whole)
    damaged = whole[:position] + data + whole[position + len(data) :]

    try:
        assert isinstance(decode_image(damaged, max_pixels=MAX_PIXELS), Image.Image)
    except Problem as problem:
        assert problem.detail  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    "content_type", ["image/png", "image/jpg", "IMAGE/JPEG; q=1", "", "application/octet-stream"]
)
def test_a_type_that_may_be_an_image_is_let_through(content_type):
    check_content_type(content_type)


@pytest.mark.parametrize("content_type", ["text/plain", "application/pdf", "application/json", "imageish"])
def test_a_type_that_is_no_image_is_refused(content_type):
    with pytest.raises(UnsupportedTypeError, match="Send an image"):
        check_content_type(content_type)

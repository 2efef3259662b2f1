"""Decoding: every usual kind of image file is read upright, and other files are refused."""

import io
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vision.errors import (
    NoContentError,
    NoDigitError,
    Problem,
    TooLargeError,
    UndecodableImageError,
    UnsupportedTypeError,
)
from vision.images.decode import check_content_type, decode_image
from vision.images.downscale import Downscale
from vision.images.limits import ImageLimits
from vision.preprocessing.registry import preparation_of

LIMITS = ImageLimits(max_pixels=1_000_000)
ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    return Image.linear_gradient("L").resize((width, height))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_every_usual_format_is_read(kind):
    decoded = decode_image(encoded(gradient(), kind), LIMITS)

    assert decoded.size == (40, 30)
    difference = np.asarray(decoded.convert("L"), float) - np.asarray(gradient(), float)
    assert np.abs(difference).max() <= 8


def test_an_image_is_turned_upright_as_its_exif_orientation_says():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = encoded(gradient().rotate(90, expand=True), "JPEG", exif=exif)

    upright = decode_image(turned, LIMITS)

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
        decode_image(data, LIMITS)

    assert "Send" in raised.value.detail


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in [*chunks, (b"IEND", b"")]
    )


def png_header(side: int, colours: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", side, side, 8, colours, 0, 0, 0)


def test_an_image_with_too_many_pixels_is_refused_before_it_is_decompressed():
    """A few bytes can claim to be a picture of any size."""
    bomb = png_of(png_header(60_000, 2), (b"IDAT", zlib.compress(b"")))

    with pytest.raises(TooLargeError, match="1,000,000"):
        decode_image(bomb, LIMITS)


PALETTE, COLOUR, GREY = 3, 2, 0
ROWS = {kind: (b"IDAT", zlib.compress((bytes(1 + 4 * n)) * 4)) for kind, n in ((PALETTE, 1), (COLOUR, 3))}
PREPARATIONS = [
    preparation_of({"preprocessing": kind, "resize_size": 256, "crop_size": 224})
    for kind in ("digits", "photograph")
]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png_of(png_header(4, PALETTE), ROWS[PALETTE]), id="no palette"),
        pytest.param(png_of(png_header(4, PALETTE), (b"PLTE", b""), ROWS[PALETTE]), id="an empty palette"),
        pytest.param(png_of(png_header(4, PALETTE), (b"PLTE", b"ab"), ROWS[PALETTE]), id="half a colour"),
        pytest.param(
            png_of(png_header(4, PALETTE), (b"tRNS", bytes(300)), ROWS[PALETTE]), id="opacity alone"
        ),
        pytest.param(
            png_of(png_header(4, PALETTE), (b"PLTE", bytes(9)), (b"tRNS", bytes(300)), ROWS[PALETTE]),
            id="more opacities than colours",
        ),
        pytest.param(png_of(png_header(4, COLOUR), (b"tRNS", b"ab"), ROWS[COLOUR]), id="half an opacity"),
        pytest.param(png_of(png_header(4, COLOUR), (b"tRNS", b"ababababab"), ROWS[COLOUR]), id="too much"),
    ],
)
@pytest.mark.parametrize("preparation", PREPARATIONS, ids=["digits", "photographs"])
def test_a_png_whose_palette_or_opacity_is_damaged_is_a_problem_or_a_picture(data, preparation):
    """A palette is looked at only when it is used."""
    with pytest.raises((UndecodableImageError, NoDigitError, NoContentError)):
        preparation.prepare(decode_image(data, LIMITS, downscale=preparation.downscale))


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("downscale", [None, Downscale("shorter", 20)], ids=["whole", "smaller"])
def test_a_jpeg_without_the_marker_of_its_end_is_decoded(missing, progressive, downscale):
    noise = np.random.default_rng(0).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), "JPEG", progressive=progressive)

    seen = decode_image(whole[:-missing], LIMITS, downscale=downscale)

    assert seen.tobytes() == decode_image(whole, LIMITS, downscale=downscale).tobytes()


@given(missing=st.floats(0, 0.9), progressive=st.booleans(), seed=st.integers(0, 9))
@settings(max_examples=50)
def test_a_jpeg_that_lacks_a_part_of_its_picture_is_undecodable(missing, progressive, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), "JPEG", progressive=progressive)
    cut = max(40, round(missing * len(whole)))

    with pytest.raises(UndecodableImageError):
        decode_image(whole[:-cut], LIMITS)


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
        decode_image(data, replace(LIMITS, max_side=1999))
    with pytest.raises(UndecodableImageError):
        decode_image(data, replace(LIMITS, max_side=2000))


@given(data=st.binary(max_size=300), kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
@settings(max_examples=300)
def test_damage_anywhere_in_a_file_is_a_problem_or_a_picture(data, kind):
    """Whatever a decoder makes of random bytes, no other exception gets out."""
    whole = encoded(gradient(), kind)
    position = sum(data) % len(whole)
    damaged = whole[:position] + data + whole[position + len(data) :]

    try:
        assert isinstance(decode_image(damaged, LIMITS), Image.Image)
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

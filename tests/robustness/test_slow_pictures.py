"""Small files of huge pictures: their senders wait, and nobody else."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image

from bench.bombs import SIDE, deep_png
from tests.support.processes import worker_of

ALL_OTHERS = 5  # digits that are answered while one slow request is, at the least


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def jpeg_of_scans() -> bytes:
    """A JPEG of 90 scans, each of which goes over the whole picture."""
    data = encoded(Image.linear_gradient("L").resize((5000, 5000)).convert("RGB"), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 80 + data[-2:]


@pytest.fixture(scope="module")
def client(store, serve) -> Iterator[httpx.Client]:
    with serve(store) as client:
        yield client


@pytest.mark.parametrize(
    "make",
    [
        deep_png,
        lambda: encoded(Image.new("RGBA", (SIDE, SIDE), (1, 2, 3, 4)), "PNG"),
        jpeg_of_scans,
        lambda: encoded(Image.new("RGB", (SIDE, SIDE), (9, 8, 7)), "TIFF", compression="tiff_lzw"),
    ],
    ids=["a deep PNG", "a transparent PNG", "a JPEG of many scans", "a TIFF"],
)
def test_digits_are_answered_while_a_huge_picture_is_decoded(client, make, as_files, held_out):
    slow = [("images", ("x", make()))] * 2
    one_digit = as_files(held_out.images[:1])
    decoding = worker_of(client).children()

    with httpx.Client(base_url=client.base_url, timeout=300) as other, ThreadPoolExecutor(1) as sender:
        answer, answered = sender.submit(other.post, "/classify", files=slow), 0
        while not answer.done():
            assert client.post("/classify", files=one_digit).is_success
            answered += not answer.done()

    assert answer.result().json()["status"] == 422  # there is no digit on it
    assert answered >= ALL_OTHERS
    assert worker_of(client).children() == decoding

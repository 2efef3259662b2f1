"""Bodies over the limit, as a client may send them or only say that it does: what is said to each."""

import time
from collections.abc import Iterator

import httpx
import pytest

from bench.wire import Wire

MAX_BODY_BYTES, READ_TIMEOUT_SECONDS = 100_000, 3
WITHIN_SECONDS = 30  # on a busy machine; TIMEOUT_SECONDS is twice that
HEAD = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
FILE = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
KILOBYTE = b"400\r\n" + bytes(1024) + b"\r\n"
OVER = b"%x\r\n%b\r\n" % (len(FILE), FILE) + KILOBYTE * (1 + MAX_BODY_BYTES // 1024)


@pytest.fixture(scope="module")
def narrow(store, serve) -> Iterator[httpx.Client]:
    """A client of a service that takes bodies of 100 kB, and waits for three seconds for what is to come."""
    limits = {"MAX_BODY_BYTES": str(MAX_BODY_BYTES), "READ_TIMEOUT_SECONDS": str(READ_TIMEOUT_SECONDS)}
    with serve(store, **limits) as client:
        yield client


@pytest.mark.parametrize("path", ["/classify", "/drift"])
@pytest.mark.parametrize(
    ("body", "waits"),
    [
        pytest.param(CHUNKED + OVER + b"0\r\n\r\n", False, id="chunked, with its end"),
        pytest.param(CHUNKED + OVER, True, id="chunked, and then nothing more"),
        pytest.param(CHUNKED + OVER + b"400\r\n" + bytes(100), True, id="chunked, and ends within a chunk"),
        pytest.param(b"Content-Length: 999999999\r\n\r\n", True, id="declared, and none of it comes"),
        pytest.param(b"Content-Length: 999999999\r\n\r\n" + FILE, True, id="declared, and some of it comes"),
        pytest.param(
            b"Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n", False, id="declared, and asked for"
        ),
    ],
)
def test_a_body_over_the_limit_is_told_so_as_soon_as_no_more_of_it_comes(
    narrow, path, body, waits, as_files, held_out
):
    began = time.monotonic()
    answer = Wire(narrow.base_url.host, narrow.base_url.port).ask(HEAD % path.encode() + body)
    took = time.monotonic() - began
    next_ = narrow.post("/classify", files=as_files(held_out.images[:1]))

    assert answer.status == answer.json()["status"] == 413
    assert f"{MAX_BODY_BYTES:,}" in answer.json()["detail"]
    assert took < WITHIN_SECONDS
    assert took < READ_TIMEOUT_SECONDS or waits
    assert next_.json()["results"][0]["label"] == str(int(held_out.labels[0]))

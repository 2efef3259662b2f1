"""A request that takes long to answer, and how many of those are in progress."""

import io

import httpx
import pytest
from PIL import Image, ImageDraw


@pytest.fixture(scope="session")
def long_work() -> dict:
    """A request that would take half a minute: a thousand large pictures, each of few bytes."""
    stream, image = io.BytesIO(), Image.new("L", (1200, 1200))
    ImageDraw.Draw(image).line((600, 300, 600, 900), fill=255, width=60)
    image.save(stream, "PNG")
    return {"files": [("images", (f"{index}.png", stream.getvalue(), "image/png")) for index in range(1000)]}


def raw_request(client: httpx.Client, path: str, content: dict) -> bytes:
    """Return a request as it goes over a connection."""
    request = httpx.Request("POST", client.base_url.join(path), **content)
    body = request.read()
    headers = b"".join(b"%b: %b\r\n" % header for header in request.headers.raw)
    return b"POST %b HTTP/1.1\r\n" % path.encode() + headers + b"\r\n" + body


def in_queue(client: httpx.Client, endpoint: str) -> float:
    """Return how many requests to an endpoint are answered or wait for it."""
    counted = f'driftbento_queue_requests{{endpoint="{endpoint}"'
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(counted))

"""What a worker's memory rises to, whatever it is sent at the same time: no further than SECURITY.md says."""

import io
import re
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from serving.settings import Settings
from tests.support.processes import worker_of

SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text()
MEGABYTE = 10**6
LIMITS = Settings()


def file_of(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="module")
def worst() -> list[tuple[str, list]]:
    """Requests that take as much memory as each can: the endpoint, and the files."""
    side = int(LIMITS.max_pixels**0.5)
    stroke = (side // 2, side // 4, side * 5 // 9, side * 3 // 4)  # something like a 1
    clear, dark = Image.new("RGBA", (side, side), (1, 2, 3, 4)), Image.new("I;16", (side, side), 1000)
    clear.paste((1, 2, 3, 255), stroke)
    dark.paste(60_000, stroke)
    transparent, deep = file_of(clear, "PNG"), file_of(dark, "PNG")
    archive = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, 3 * 4_000_000, dtype=np.uint8)
    picture = file_of(Image.fromarray(noise.reshape(2000, 2000, 3)), "BMP")
    with zipfile.ZipFile(archive, "w") as packed:
        for index in range(4):
            packed.writestr(f"{index}.bmp", picture)
    array = io.BytesIO()
    digits = np.zeros((900, 256, 256), np.uint8)
    digits[:, 60:200, 120:140] = 255
    np.save(array, digits)
    pictures = [transparent, deep, *[picture] * 4]
    return [
        ("/classify", [("images", ("x", content)) for content in pictures]),
        ("/drift", [("images", ("x", content)) for content in pictures]),
        ("/drift", [("images", ("x.zip", archive.getvalue()))]),
        ("/drift", [("images", ("x.npy", array.getvalue()))]),
        ("/classify", [("images", ("x", bytes(60 * MEGABYTE)))]),
    ]


def highest(process: psutil.Process) -> int:
    """Return the most memory that a process has ever held, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


@pytest.fixture(scope="module")
def client(store, serve) -> Iterator[httpx.Client]:
    with serve(store) as client:
        yield client


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_memory_stays_under_the_ceiling_whatever_is_sent(client, worst, as_files, held_out):
    worker = worker_of(client)
    processes = [worker, *worker.children()]  # and the one that decodes
    at_rest = sum(process.memory_info().rss for process in processes)
    room, pixels = re.search(
        r"`MAX_HELD_BYTES` and (\d+) MB, and (\d+) bytes for each of `MAX_PIXELS`", SECURITY
    ).groups()

    def send(number: int) -> int:
        path, files = worst[number % len(worst)]
        with httpx.Client(base_url=client.base_url, timeout=300) as other:
            return other.post(path, files=files).status_code

    with ThreadPoolExecutor(10) as pool:
        statuses = set(pool.map(send, range(30)))
    risen = sum(map(highest, processes)) - at_rest

    assert 200 in statuses
    assert statuses <= {200, 413, 422, 429, 504}
    assert risen <= LIMITS.max_held_bytes + int(room) * MEGABYTE + int(pixels) * LIMITS.max_pixels
    classified = client.post("/classify", files=as_files(held_out.images[:1])).json()
    assert classified["results"][0]["label"] == str(int(held_out.labels[0]))

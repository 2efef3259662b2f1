"""Damaged files of every kind: each becomes a problem or a picture, soon and in little memory."""

import gc
import io
import re
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.batches import Item, read_batch
from serving.errors import Problem
from serving.preparations import preparation_of
from serving.settings import Settings
from serving.uploads import Upload

# What Pillow has to say of damage; outside of tests, serving.images turns it off.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")
LIMITS = Settings(max_images=20, max_pixels=1_000_000, max_side=5000, max_body_bytes=2**20)
DIGITS = preparation_of({"preprocessing": "digits"})
PHOTOGRAPHS = preparation_of({"preprocessing": "photograph", "resize_size": 32, "crop_size": 28})
MOST_CPU_SECONDS = 2  # for one file, of the few milliseconds that it takes
MOST_MEMORY = 200 * 2**20  # more than before, after them all
EXTREMES = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0", b"\xff\xff"]


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def tiled_tiff(picture: Image.Image, *, tile: int = 16) -> bytes:
    """A grey TIFF in deflated tiles, which Pillow reads and does not write."""
    padded = np.zeros((-(-picture.height // tile) * tile, -(-picture.width // tile) * tile), np.uint8)
    padded[: picture.height, : picture.width] = np.asarray(picture)
    rows, columns = range(0, padded.shape[0], tile), range(0, padded.shape[1], tile)
    tiles = [zlib.compress(padded[y : y + tile, x : x + tile].tobytes()) for y in rows for x in columns]
    starts = list(np.cumsum([8] + [len(data) for data in tiles]))
    lists = starts[-1]
    numbers = [(256, picture.width), (257, picture.height), (258, 8), (259, 8), (262, 1), (277, 1)]
    tags = [struct.pack("<HHLL", tag, 4, 1, value) for tag, value in [*numbers, (322, tile), (323, tile)]]
    tags += [struct.pack("<HHLL", 324, 4, len(tiles), lists)]
    tags += [struct.pack("<HHLL", 325, 4, len(tiles), lists + 4 * len(tiles))]
    tables = struct.pack(f"<{2 * len(tiles)}L", *starts[:-1], *map(len, tiles))
    directory = struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)
    return b"II*\0" + struct.pack("<L", lists + len(tables)) + b"".join(tiles) + tables + directory


def images() -> dict[str, bytes]:
    """One small picture in every format, and in the ways that each has of holding it."""
    grey = Image.linear_gradient("L").resize((40, 30)).point(lambda level: 200 + level // 5)
    grey.paste(20, (16, 5, 21, 25))  # something like a 1, in dark ink
    colour = Image.merge("RGB", [grey, grey.point(lambda level: level * 0.9), grey])
    clear = Image.merge("RGBA", [*colour.split(), grey.point(lambda level: 255 - level)])
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [colour.rotate(90), colour], "duration": 20}
    modes = ["1", "L", "LA", "P", "RGB", "RGBA"]
    tiffs = ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "raw"]
    return {
        **{f"PNG {mode}": encoded(clear.convert(mode, dither=Image.Dither.NONE), "PNG") for mode in modes},
        "PNG 16-bit": encoded(deep, "PNG"),
        "PNG with EXIF": encoded(colour, "PNG", exif=exif),
        "PNG palette, transparent": encoded(colour.convert("P"), "PNG", transparency=3),
        "JPEG": encoded(colour, "JPEG"),
        "JPEG progressive": encoded(colour, "JPEG", progressive=True),
        "JPEG CMYK": encoded(colour.convert("CMYK"), "JPEG"),
        "JPEG turned": encoded(grey, "JPEG", exif=exif),
        "GIF": encoded(colour.convert("P"), "GIF"),
        "GIF animated": encoded(colour, "GIF", disposal=2, transparency=0, **frames),
        "BMP": encoded(colour, "BMP"),
        "BMP palette": encoded(colour.convert("P"), "BMP"),
        "WebP": encoded(colour, "WEBP"),
        "WebP lossless": encoded(clear, "WEBP", lossless=True, exif=exif),
        "WebP animated": encoded(colour, "WEBP", **frames),
        **{f"TIFF {name}": encoded(colour, "TIFF", compression=name) for name in tiffs},
        "TIFF 16-bit": encoded(deep, "TIFF"),
        "TIFF floats": encoded(grey.convert("F"), "TIFF", compression="tiff_lzw"),
        "TIFF turned": encoded(colour, "TIFF", exif=exif),
        "TIFF tiled": tiled_tiff(grey),
    }


def archives() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(200, 210, (3, 30, 24), dtype=np.uint8)
    pixels[:, 6:24, 10:13] = 20  # something like a 1, in dark ink
    npy, npz, deflated, stored = (io.BytesIO() for _ in range(4))
    np.save(npy, pixels)
    np.savez_compressed(npz, images=pixels)
    for stream, method in [(deflated, zipfile.ZIP_DEFLATED), (stored, zipfile.ZIP_STORED)]:
        with zipfile.ZipFile(stream, "w", method) as archive:
            for name in ("PNG L", "BMP", "JPEG"):
                archive.writestr(f"{name}.file", IMAGES[name])
    return {
        "npy": npy.getvalue(),
        "npz": npz.getvalue(),
        "zip deflated": deflated.getvalue(),
        "zip stored": stored.getvalue(),
    }


IMAGES = images()
ARCHIVES = archives()
CORPUS = IMAGES | ARCHIVES


def truncated(data: bytes) -> Iterator[bytes]:
    """A file cut short at every sixteenth of its length."""
    for sixteenth in range(1, 16):
        yield data[: len(data) * sixteenth // 16]


def flipped(data: bytes) -> Iterator[bytes]:
    """A file with a few bytes other than they were, anywhere, and in its header."""
    rng = np.random.default_rng(len(data))
    for reach in [len(data)] * 30 + [min(len(data), 100)] * 30:
        damaged = bytearray(data)
        for position in rng.integers(0, reach, rng.integers(1, 6)):
            damaged[position] ^= int(rng.integers(1, 256))
        yield bytes(damaged)


def extreme(data: bytes) -> Iterator[bytes]:
    """A file with zero, or the largest number, where a length, an offset or a size may stand."""
    rng = np.random.default_rng(len(data))
    ends = [range(min(len(data), 64)), range(max(0, len(data) - 200), len(data))]
    positions = [*ends[0], *rng.choice(ends[1], 30), *rng.integers(0, len(data), 20)]
    for index, position in enumerate(positions):
        value = EXTREMES[index % len(EXTREMES)]
        yield data[:position] + value + data[position + len(value) :]


def read(data: bytes, preparation=DIGITS) -> list[Item] | Problem:
    try:
        return read_batch([Upload("file", "", data)], LIMITS, preparation, archives=True)
    except Problem as problem:
        return problem


def assert_answered(read_items: list[Item] | Problem) -> None:
    """Each file, and each picture of an archive, is a problem with a detail, or what the model takes."""
    items = [read_items] if isinstance(read_items, Problem) else [item.content for item in read_items]
    for content in items:
        if isinstance(content, Problem):
            assert 400 <= content.status < 500
            assert content.detail
        else:
            assert content.pixels.shape in {(1, 28, 28), (3, 28, 28)}


@pytest.fixture(scope="module")
def process() -> psutil.Process:
    """The tests' process, once all that reading needs has been loaded."""
    for data in CORPUS.values():
        for preparation in (DIGITS, PHOTOGRAPHS):
            read(data, preparation)
    return psutil.Process()


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("preparation", [DIGITS, PHOTOGRAPHS], ids=["digits", "photographs"])
def test_every_file_of_the_corpus_is_a_picture_as_long_as_it_is_whole(name, preparation):
    (item,) = read(IMAGES[name], preparation)

    assert not isinstance(item.content, Problem)
    assert item.content.pixels.std() > 10


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_archive_of_the_corpus_holds_three_pictures_as_long_as_it_is_whole(name):
    items = read(ARCHIVES[name])

    assert [isinstance(item.content, Problem) for item in items] == [False] * 3


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("damage", [truncated, flipped, extreme], ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_a_problem_or_a_picture_soon_and_leaves_nothing_behind(
    name: str, damage: Callable[[bytes], Iterator[bytes]], process: psutil.Process
):
    gc.collect()
    files, threads, memory = process.num_fds(), threading.active_count(), peak_memory(anew=True)

    for index, data in enumerate(damage(CORPUS[name])):
        started = time.thread_time()
        answer = read(data, PHOTOGRAPHS if index % 2 else DIGITS)
        taken = time.thread_time() - started

        assert_answered(answer)
        assert taken < MOST_CPU_SECONDS

    gc.collect()
    assert process.num_fds() <= files
    assert threading.active_count() <= threads
    assert peak_memory() - memory < MOST_MEMORY


def peak_memory(*, anew: bool = False) -> int:
    """Return the most memory that this process has held since it was last begun anew."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    (kilobytes,) = re.findall(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    return 1024 * int(kilobytes)


def test_the_peak_of_memory_is_that_of_what_is_measured():
    before = peak_memory(anew=True)
    bytearray(2 * MOST_MEMORY)
    after = peak_memory()

    assert after - before > MOST_MEMORY
    assert peak_memory(anew=True) - before < MOST_MEMORY


@given(
    name=st.sampled_from(list(CORPUS)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
)
@settings(max_examples=3000)
def test_whatever_is_written_over_a_file_it_is_a_problem_or_a_picture(name, changes):
    damaged = bytearray(CORPUS[name])
    for where, bytes_ in changes:
        position = int(where * (len(damaged) - 1))
        damaged[position : position + len(bytes_)] = bytes_

    assert_answered(read(bytes(damaged)))


def test_the_service_answers_each_damaged_file_in_its_place_and_every_digit_beside_them(
    service, held_out, png
):
    digits = [png(image) for image in held_out.images[:60]]
    expected = labels(service, digits)
    damaged = [
        data
        for whole in CORPUS.values()
        for damage in (truncated, flipped, extreme)
        for data in list(damage(whole))[3:13:5]
    ]
    mixed = [file for index, file in enumerate(damaged) for file in (digits[index % 60], file)]

    answered = labels(service, mixed)

    assert len(answered) == len(mixed)
    assert answered[::2] == [expected[index % 60] for index in range(len(damaged))]
    assert {str, int} == {type(label) for label in answered[1::2]}  # some of them can still be read
    assert all(label < 500 for label in answered[1::2] if isinstance(label, int))


def labels(service, files: list[bytes]) -> list[str | int]:
    """What the service says is in each file, or the status of the problem that it has with it."""
    form = [("images", (f"{index}", file, "")) for index, file in enumerate(files)]
    response = service.post("/classify", files=form)
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert [result["index"] for result in results] == list(range(len(files)))
    return [result.get("label") or result["error"]["status"] for result in results]


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_service_takes_no_damage_from_archives(name, service):
    damaged = [data for damage in (truncated, flipped, extreme) for data in list(damage(ARCHIVES[name]))[::7]]

    statuses = {service.post("/drift", files={"images": ("file", data, "")}).status_code for data in damaged}

    assert statuses
    assert statuses <= {200, 400, 413, 415, 422}
    assert service.get("/readyz").status_code == 200

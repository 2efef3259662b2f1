"""Small files that claim to be huge, and large pictures: what either takes of memory.

Python's own tools do not see what Pillow's decoders take, so a process of its own is measured.
"""

import io
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.execution.scheduler import LARGE_STEPS

ROOT = Path(__file__).parents[2]
SECURITY = (ROOT / "SECURITY.md").read_text()
MEGA = 1_000_000
KEPT = 60  # megabytes, for Python itself and for the next pictures, however large these are
# Prepares the files that it is named, one after the other or at the same time, and says what came of each and
# by how many bytes the process had grown at most.
READ = """
import io, json, re, sys, threading, torch
from functools import partial
from pathlib import Path
from PIL import Image
from vision.images.limits import ImageLimits
from vision.images.read import Upload, read_uploads
from vision.images.decoder_process import DecoderProcess
from vision.errors import Problem
from vision.images.decode import Offload
from vision.preprocessing.registry import preparation_of

max_pixels, steps, how, *paths = sys.argv[1:]
sizes = {"resize_size": 256, "crop_size": 224}
preparations = [preparation_of({"preprocessing": kind} | sizes) for kind in ("digits", "photograph")]

limits, kept = ImageLimits(max_pixels=int(max_pixels)), []
decoder = DecoderProcess(60)
offload = Offload(int(steps), partial(decoder.decode, checkpoint=lambda: None))

def read(data):
    upload = Upload("", "", data)
    items = [
        item
        for one in preparations
        for item in read_uploads([upload], limits, one, archives=False, offload=offload)
    ]
    kept.extend(items)
    contents = [item.content for item in items]
    if isinstance(contents[0], Problem):
        return [contents[0].kind, contents[0].detail]
    return [list(content.pixels.shape) for content in contents]

def peak():  # of both processes; other than getrusage's, it is not that of who has started them
    statuses = [Path(f"/proc/{one}/status").read_text() for one in ("self", decoder.child.process.pid)]
    return 1024 * sum(int(re.search("VmHWM:[^0-9]*([0-9]+)", status)[1]) for status in statuses)

def read_into(answers, data):
    answers.append([read(data), peak() - before])

for name in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):  # what Pillow loads, it is to load before
    stream = io.BytesIO()
    Image.new("RGB", (400, 300)).save(stream, name)
    read(stream.getvalue())
files, answers = [open(path, "rb").read() for path in paths], []
before = peak()
threads = [threading.Thread(target=read_into, args=(answers, data)) for data in files]
for thread in threads:
    thread.start()
    if how == "in turn":
        thread.join()
for thread in threads:
    thread.join()
print(json.dumps(answers))
"""


def read_apart(
    paths: Sequence[Path], *, max_pixels: int, steps: int = 0, how: str = "in turn"
) -> list[tuple[list, int]]:
    """What comes of each file, and how much more memory two processes have taken by then.

    One of them decodes the pictures of more than some number of steps.
    """
    command = [sys.executable, "-c", READ, str(max_pixels), str(steps), how, *map(str, paths)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return [tuple(answer) for answer in json.loads(finished.stdout)]


def written(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    paths = [folder / name for name in files]
    for path, data in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    return paths


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def replaced(data: bytes, position: int, new: bytes) -> bytes:
    return data[:position] + new + data[position + len(new) :]


SMALL = Image.new("RGB", (40, 30), (10, 200, 30))


def png_bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 6, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def jpeg_bomb() -> bytes:
    data = encoded(SMALL, "JPEG", progressive=True)
    return replaced(data, data.index(b"\xff\xc2") + 5, struct.pack(">HH", 20_000, 20_000))


def gif_bomb(*, screen: tuple[int, int], frame: tuple[int, int]) -> bytes:
    """A frame that is to be wiped after it was shown, for which Pillow makes room when it opens the file."""
    header = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(6)
    wiped = b"!\xf9\x04\x08\0\0\0\0"
    return header + wiped + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x4c\x01\0;"


def bmp_bomb() -> bytes:
    return replaced(encoded(SMALL, "BMP"), 18, struct.pack("<ll", 20_000, 20_000))


def webp_bomb(side: int) -> bytes:
    """An animation with small frames on a large canvas."""
    data = encoded(SMALL, "WEBP", save_all=True, append_images=[Image.new("RGB", (40, 30))])
    return replaced(data, 24, 2 * struct.pack("<L", side - 1)[:3])


def tiff(tags: dict[int, int], data: bytes) -> bytes:
    """A grey TIFF with numbers as tags, whose one strip or tile is what follows its directory."""
    usual = {258: 8, 262: 1, 277: 1}
    tags = usual | tags
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags |= {273 if 322 not in tags else 324: start, 279 if 322 not in tags else 325: len(data)}
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4) + data


ZEROS = zlib.compress(bytes(1_000_000))
BOMBS = {
    "PNG": png_bomb(),
    "JPEG": jpeg_bomb(),
    "GIF with a large screen": gif_bomb(screen=(20_000, 20_000), frame=(8, 8)),
    "GIF with a frame larger than its screen": gif_bomb(screen=(8, 8), frame=(20_000, 20_000)),
    "BMP": bmp_bomb(),
    "WebP": webp_bomb(20_000),
    "WebP that takes twice the memory of others": webp_bomb(6_500),
    "TIFF": tiff({256: 20_000, 257: 20_000, 259: 8}, ZEROS),
    "TIFF with a large tile": tiff({256: 40, 257: 30, 259: 8, 322: 20_000, 323: 20_000}, ZEROS),
    "TIFF that is turned": tiff({256: 6_900, 257: 6_900, 258: 32, 259: 8, 274: 6, 339: 3}, ZEROS),
}


@pytest.fixture(scope="module")
def bombs_read(tmp_path_factory) -> dict[str, tuple[list, int]]:
    """What comes of each bomb, and the memory that was taken by then."""
    answers = read_apart(written(BOMBS, tmp_path_factory.mktemp("bombs")), max_pixels=50 * MEGA)
    return dict(zip(BOMBS, answers, strict=True))


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_claims_a_huge_picture_is_refused_in_little_memory(name, bombs_read):
    (kind, detail), grown = bombs_read[name]

    assert kind == "too-large", detail
    assert any(number in detail for number in ("50,000,000", "400,000,000")), detail
    assert grown < 20 * MEGA


def picture(mode: str, pixels: int) -> Image.Image:
    """A square picture with something in it."""
    side = int(pixels**0.5)
    grey = Image.linear_gradient("L").resize((side, side))
    grey.paste(0, (side // 2, side // 2, side * 5 // 9, side * 7 // 8))  # something like a 1
    if mode == "I;16":
        return Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    if mode in {"P", "F"}:
        return grey.convert(mode)
    return Image.merge(mode, [grey] * len(mode))


LARGE = {
    "transparent PNG": ("RGBA", 16, "PNG", {"compress_level": 1}),
    "16-bit PNG": ("I;16", 16, "PNG", {"compress_level": 1}),
    "progressive JPEG in four colours": ("CMYK", 16, "JPEG", {"progressive": True, "subsampling": 0}),
    "GIF": ("P", 16, "GIF", {}),
    "TIFF of floats": ("F", 16, "TIFF", {"compression": "tiff_adobe_deflate"}),
    "lossless WebP": ("RGBA", 8, "WEBP", {"lossless": True, "method": 0}),
}


@pytest.fixture(scope="module")
def large_files() -> dict[str, bytes]:
    return {
        name: encoded(picture(mode, megapixels * MEGA), kind, **options)
        for name, (mode, megapixels, kind, options) in LARGE.items()
    }


@pytest.fixture(scope="module")
def large_read(large_files, tmp_path_factory) -> dict[str, tuple[list, int]]:
    """What comes of each large picture, and the memory that was taken by then."""
    answers = read_apart(written(large_files, tmp_path_factory.mktemp("large")), max_pixels=16 * MEGA)
    return dict(zip(LARGE, answers, strict=True))


@pytest.mark.parametrize("name", LARGE)
def test_a_large_picture_takes_at_most_eight_bytes_for_each_pixel_that_one_may_have(name, large_read):
    shapes, grown = large_read[name]

    assert shapes == [[1, 28, 28], [3, 224, 224]]
    assert grown < (8 * 16 + KEPT) * MEGA


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        pytest.param(Image.new("I;16", (2400, 2400), 9), "PNG", id="deep"),
        pytest.param(Image.new("RGBA", (1700, 1700), (1, 2, 3, 4)), "PNG", id="transparent"),
        pytest.param(Image.new("L", (400, 29_000), 9), "JPEG", id="long"),
        pytest.param(Image.new("RGB", (1400, 1400), (1, 2, 3)), "WEBP", id="WebP"),
    ],
)
def test_a_picture_that_is_decoded_where_it_is_classified_takes_as_little_memory_as_is_said(
    image, kind, tmp_path
):
    """SECURITY.md promises it for each of CLASSIFY_THREADS."""
    paths = written({"picture": encoded(image, kind)}, tmp_path)

    ((_, grown),) = read_apart(paths, max_pixels=50 * MEGA, steps=LARGE_STEPS)

    assert grown < int(re.search(r"(\d+) MB for\s+each of `CLASSIFY_THREADS`", SECURITY)[1]) * MEGA


def test_large_pictures_that_end_early_are_not_kept_with_the_problem_that_they_have(large_files, tmp_path):
    whole = large_files["transparent PNG"]
    paths = written({str(index): whole[: len(whole) * 9 // 10] for index in range(4)}, tmp_path)

    answers = read_apart(paths, max_pixels=16 * MEGA)

    assert [outcome[0] for outcome, _ in answers] == ["undecodable-image"] * 4
    assert answers[-1][1] < (8 * 16 + KEPT) * MEGA


def test_of_several_large_pictures_one_is_decoded_at_a_time(large_files, tmp_path):
    paths = written({str(index): large_files["transparent PNG"] for index in range(4)}, tmp_path)

    answers = read_apart(paths, max_pixels=50 * MEGA, how="together")

    assert [shapes for shapes, _ in answers] == [[[1, 28, 28], [3, 224, 224]]] * 4
    assert answers[-1][1] < 1.8 * 4 * 16 * MEGA  # where each takes four bytes for a pixel

"""Damaged files of every kind: each becomes a problem or a picture, soon and in little memory."""

import gc
import io
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.damage import IMAGES, extreme, flipped, truncated
from serving.problems import STATUSES
from vision.errors import Problem
from vision.images.limits import ImageLimits
from vision.images.read import Item, Upload, read_uploads
from vision.preprocessing.registry import preparation_of

# What Pillow has to say of damage; outside of tests, vision.images.decode turns it off.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")
LIMITS = ImageLimits(max_images=20, max_pixels=1_000_000, max_side=5000, max_bytes=2**20)
DIGITS = preparation_of({"preprocessing": "digits"})
PHOTOGRAPHS = preparation_of({"preprocessing": "photograph", "resize_size": 32, "crop_size": 28})
MOST_CPU_SECONDS = 2  # for one file, of the few milliseconds that it takes
MOST_MEMORY = 200 * 2**20  # more than before, after them all


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


ARCHIVES = archives()
CORPUS = IMAGES | ARCHIVES


def read(data: bytes, preparation=DIGITS) -> list[Item] | Problem:
    try:
        return read_uploads([Upload("file", "", data)], LIMITS, preparation, archives=True)
    except Problem as problem:
        return problem


def assert_answered(read_items: list[Item] | Problem) -> None:
    """Each file, and each picture of an archive, is a problem with a detail, or what the model takes."""
    items = [read_items] if isinstance(read_items, Problem) else [item.content for item in read_items]
    for content in items:
        if isinstance(content, Problem):
            assert 400 <= STATUSES[type(content)] < 500
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


@pytest.mark.parametrize("examples", [300, pytest.param(3000, marks=pytest.mark.thorough)])
def test_whatever_is_written_over_a_file_it_is_a_problem_or_a_picture(examples):
    @settings(max_examples=examples)
    @given(
        name=st.sampled_from(list(CORPUS)),
        changes=st.lists(
            st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4
        ),
    )
    def write_over(name, changes):
        damaged = bytearray(CORPUS[name])
        for where, bytes_ in changes:
            position = int(where * (len(damaged) - 1))
            damaged[position : position + len(bytes_)] = bytes_

        assert_answered(read(bytes(damaged)))

    write_over()


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

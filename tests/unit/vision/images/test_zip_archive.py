"""Archives: harmful ones are refused soon and in little memory, and a damaged member harms no other."""

import io
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from vision.errors import Problem, TooLargeError, UndecodableImageError
from vision.images.limits import ImageLimits
from vision.images.read import Upload, read_uploads
from vision.preprocessing.prepared import Prepared
from vision.preprocessing.registry import Preparation

LIMITS = ImageLimits(max_images=20, max_pixels=10_000, max_bytes=8 * 2**20)
ENTRY, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
ENCRYPTED = 0x1


def read(data: bytes):
    preparation = Preparation(lambda image: Prepared(np.asarray(image.convert("L"))))
    return read_uploads([Upload("many.zip", "", data)], LIMITS, preparation, archives=True)


def png(level: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (9, 8), level).save(stream, "PNG")
    return stream.getvalue()


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def patched(data: bytes, signature: bytes, offset: int, new: bytes, *, which: int = 0) -> bytes:
    """An archive with other bytes at some place of one of its headers."""
    position = -1
    for _ in range(which + 1):
        position = data.index(signature, position + 1)
    return data[: position + offset] + new + data[position + offset + len(new) :]


PICTURES = packed({"a.png": png(10), "b.png": png(20), "c.png": png(30)})

NAMELESS = packed({"a": png(10), "bbb": b"?", "c": png(30)}).replace(b"bbb", b"\0bb")
MANY = packed({f"{index}.png": b"" for index in range(21)})


def assert_only_the_second_is_a_problem(data: bytes, match: str) -> None:
    first, second, third = (item.content for item in read(data))
    assert (first.pixels == 10).all()
    assert (third.pixels == 30).all()
    assert isinstance(second, UndecodableImageError)
    assert match in second.detail


@pytest.mark.parametrize(
    ("data", "match"),
    [
        pytest.param(
            patched(PICTURES, b"b.png", 10, b"??????????"), "damaged in the archive", id="damaged data"
        ),
        pytest.param(
            patched(PICTURES, ENTRY, 8, struct.pack("<H", ENCRYPTED), which=1), "encrypted", id="encrypted"
        ),
        pytest.param(patched(PICTURES, ENTRY, 10, struct.pack("<H", 12), which=1), "method 12", id="bzip2"),
        pytest.param(
            patched(PICTURES, ENTRY, 10, struct.pack("<H", 99), which=1), "method 99", id="unknown method"
        ),
        pytest.param(
            patched(PICTURES, ENTRY, 24, struct.pack("<L", 9999), which=1), "9,999", id="too large a size"
        ),
        pytest.param(
            patched(PICTURES, ENTRY, 24, struct.pack("<L", 9), which=1), "damaged", id="too small a size"
        ),
        pytest.param(
            patched(PICTURES, ENTRY, 16, bytes(4), which=1), "damaged in the archive", id="wrong checksum"
        ),
        pytest.param(packed({"a": png(10), "b": PICTURES, "c": png(30)}), "no image", id="an archive"),
        pytest.param(NAMELESS, "no image", id="without a name"),
    ],
)
def test_a_member_that_cannot_be_read_is_a_problem_in_its_place(data, match):
    assert_only_the_second_is_a_problem(data, match)


def overlapping() -> bytes:
    """An archive whose entries all name the same bytes: it unpacks to many times what it holds."""
    return patched(PICTURES, ENTRY, 42, struct.pack("<L", 0), which=1)


def with_a_name_of(length: int) -> bytes:
    return packed({"a" * length + ".png": png(1)})


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        pytest.param(overlapping(), UndecodableImageError, "share bytes", id="members that share bytes"),
        pytest.param(packed({"a": bytes(2**22)}), TooLargeError, "at most 200 times", id="ratio"),
        pytest.param(packed({"a": bytes(9 * 2**20)}), TooLargeError, "9,437,184", id="unpacked size"),
        pytest.param(MANY, TooLargeError, "21 files", id="21 members"),
        pytest.param(with_a_name_of(2000), TooLargeError, "1000 characters", id="long name"),
        pytest.param(PICTURES[:-5], UndecodableImageError, "damaged archive", id="cut short"),
        pytest.param(
            patched(PICTURES, END, 12, b"\xff\xff\xff\x7f"),
            UndecodableImageError,
            "damaged",
            id="no directory",
        ),
        pytest.param(
            patched(PICTURES, ENTRY, 24, b"\xfe\xff\xff\xff"), TooLargeError, "4,294,9", id="claims 4 GB"
        ),
    ],
)
def test_an_archive_that_could_harm_is_refused_as_a_whole(data, error, match):
    with pytest.raises(error, match=match):
        read(data)


def test_an_archive_of_a_million_files_is_refused_soon_and_in_little_memory():
    entry = ENTRY + bytes(42)
    directory = entry * 1_000_000
    end = END + struct.pack("<HHHHLLH", 0, 0, 5, 5, len(directory), 30, 0)  # and it claims five
    data = LOCAL + bytes(26) + directory + end
    started = time.thread_time()
    tracemalloc.start()

    with pytest.raises(TooLargeError, match="Send at most 20"):
        read(data)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
    assert time.thread_time() - started < 1


def test_a_member_that_lies_about_its_size_unpacks_to_no_more_than_it_says():
    """It says ten bytes, and holds a hundred megabytes."""
    data = packed({"a.png": bytes(100_000_000)})
    lying = patched(patched(data, ENTRY, 24, struct.pack("<L", 10)), LOCAL, 22, struct.pack("<L", 10))
    tracemalloc.start()

    (item,) = read(lying)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(item.content, Problem)
    assert peak < 2**20


def test_members_are_unpacked_one_at_a_time():
    rng = np.random.default_rng(0)
    noise = {f"{index}.png": rng.bytes(2**20) for index in range(7)}
    data = packed(noise, zipfile.ZIP_STORED)
    tracemalloc.start()

    items = read(data)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(items) == 7
    assert peak < 4 * 2**20


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_usual_archive_is_read(method):
    data = packed({"a.png": png(10), "folder/": b"", "folder/b.png": png(20)}, method)

    items = read(data)

    assert [(item.filename, item.content.pixels[0, 0]) for item in items] == [
        ("a.png", 10),
        ("folder/b.png", 20),
    ]


def test_only_pictures_count_towards_the_limit_of_an_archive():
    """An archive of a Mac has each folder once more, and each picture, under __MACOSX."""
    members = {}
    for index in range(20):
        members |= {f"{index}/": b"", f"{index}/a.png": png(index), f"{index}/.DS_Store": b"?"}
        members |= {f"__MACOSX/{index}/": b"", f"__MACOSX/{index}/._a.png": b"?"}

    items = read(packed(members))

    assert [item.filename for item in items] == [f"{index}/a.png" for index in range(20)]
    with pytest.raises(TooLargeError, match="21 files"):
        read(packed(members | {"one more.png": png(1)}))


def test_what_is_never_unpacked_does_not_count_towards_the_size():
    data = packed({"a.png": png(10), "__MACOSX/._a.png": bytes(9 * 2**20)})

    (item,) = read(data)

    assert item.filename == "a.png"


@pytest.mark.parametrize(
    "name",
    [
        *("Thumbs.db", "photos/thumbs.db", "photos/ehthumbs.db", "photos/desktop.ini", "Photos/Desktop.ini"),
        *("$RECYCLE.BIN/1.png", "System Volume Information/1.png", "photos\\Thumbs.db", "photos\\"),
        *(
            "__MACOSX/photos/._1.png",
            "__macosx/1.png",
            ".ipynb_checkpoints/1-checkpoint.png",
            "photos\\.1.png",
        ),
        *("photos/@eaDir/1.png/SYNOPHOTO_THUMB_S.png", "photos/Icon\r"),
    ],
)
def test_what_systems_add_by_themselves_is_left_out(name):
    items = read(packed({"photos/1.png": png(10), name: png(20)}))

    assert [item.filename for item in items] == ["photos/1.png"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("photos\\1.png", "photos/1.png"),
        ("./1.png", "./1.png"),
        ("../1.png", "../1.png"),
        ("photos/thumbs.db.png", "photos/thumbs.db.png"),
    ],
)
def test_a_picture_is_read_whatever_separates_its_folders(name, shown):
    (item,) = read(packed({name: png(10)}))

    assert item.filename == shown
    assert (item.content.pixels == 10).all()


@pytest.mark.parametrize("attribute", [0x02, 0x10], ids=["hidden", "a folder"])
def test_what_windows_marks_as_hidden_or_as_a_folder_is_left_out(attribute):
    """Windows' own archives mark both in the attributes, and some end no folder's name in a slash."""
    marked = zipfile.ZipInfo("marked")
    marked.external_attr = attribute
    stream = io.BytesIO(packed({"a.png": png(10)}))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(marked, b"")

    items = read(stream.getvalue())

    assert [item.filename for item in items] == ["a.png"]


def test_an_archive_with_the_directory_of_large_ones_is_read(monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    data = packed({"a.png": png(10), "b.png": png(20)})
    assert b"PK\x06\x06" in data

    items = read(data)

    assert [item.content.pixels[0, 0] for item in items] == [10, 20]

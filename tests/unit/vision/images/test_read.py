"""Reading uploads: one item for each image in files, arrays and archives."""

import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from vision.errors import (
    AmbiguousFilesError,
    Problem,
    TooLargeError,
    UndecodableImageError,
    UnsupportedTypeError,
)
from vision.images.limits import ImageLimits
from vision.images.read import Upload, read_uploads
from vision.preprocessing.prepared import Prepared
from vision.preprocessing.registry import Preparation

LIMITS = ImageLimits(max_images=20, max_pixels=10_000, max_side=5000, max_bytes=100_000)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 9, 8), dtype=np.uint8)


def prepare(image: Image.Image) -> Prepared:
    return Prepared(np.asarray(image.convert("L")))


def read(*uploads: Upload, archives: bool = True):
    return read_uploads(list(uploads), LIMITS, Preparation(prepare), archives=archives)


def npy(array: np.ndarray, **options) -> Upload:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return Upload("many.npy", "application/octet-stream", stream.getvalue())


def npz(**arrays: np.ndarray) -> Upload:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return Upload("many.npz", "application/octet-stream", stream.getvalue())


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def archive(members: dict[str, bytes]) -> Upload:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return Upload("many.zip", "application/zip", stream.getvalue())


def contents(items) -> np.ndarray:
    return np.stack([item.content.pixels for item in items])


@pytest.mark.parametrize(
    "upload",
    [
        pytest.param(npy(IMAGES), id="npy"),
        pytest.param(npy(np.asfortranarray(IMAGES)), id="npy, columns first"),
        pytest.param(npy(IMAGES[..., np.newaxis]), id="npy, a channel last"),
        pytest.param(npy(IMAGES[:, np.newaxis]), id="npy, a channel first"),
        pytest.param(npy(np.stack([IMAGES] * 3, axis=3)), id="npy, RGB"),
        pytest.param(npy(np.stack([IMAGES] * 3, axis=1)), id="npy, RGB, channels first"),
        pytest.param(npz(images=IMAGES, labels=np.arange(6)), id="npz with images and labels"),
        pytest.param(npz(anything=IMAGES), id="npz with one array"),
        pytest.param(archive({f"{i}.png": png(image) for i, image in enumerate(IMAGES)}), id="zip"),
    ],
)
def test_an_archive_stands_for_all_its_images(upload):
    assert np.array_equal(contents(read(upload)), IMAGES)


def test_items_keep_the_order_and_the_names_of_the_files():
    items = read(Upload("b.png", "", png(IMAGES[1])), Upload("a.png", "", png(IMAGES[0])))

    assert [(item.index, item.filename) for item in items] == [(0, "b.png"), (1, "a.png")]
    assert np.array_equal(contents(items), IMAGES[[1, 0]])


def test_a_bad_file_among_good_ones_is_a_problem_in_its_place():
    items = read(
        Upload("a.png", "", png(IMAGES[0])), Upload("b.png", "", b"?"), Upload("c.txt", "text/plain", b"?")
    )

    assert [type(item.content) for item in items] == [Prepared, UndecodableImageError, UnsupportedTypeError]


def test_the_files_that_systems_add_to_archives_are_left_out():
    upload = archive(
        {
            "photos/": b"",
            "photos/1.png": png(IMAGES[0]),
            "__MACOSX/photos/._1.png": b"?",
            "photos/.DS_Store": b"?",
        }
    )

    items = read(upload)

    assert [item.filename for item in items] == ["photos/1.png"]


# A header that overflows a parser's stack.
DEEP_HEADER = b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000


PYTHON_2 = "{'descr': '|u1', 'fortran_order': False, 'shape': (6L, 9L, 8L), }"


def with_header(header: str, *, version: int = 1) -> Upload:
    length = struct.pack("<H" if version == 1 else "<L", len(header))
    start = b"\x93NUMPY" + bytes([version, 0])
    return Upload("a.npy", "", start + length + header.encode() + IMAGES.tobytes())


def plain(kind: str) -> str:
    return f"{{'descr': {kind}, 'fortran_order': False, 'shape': (6, 9, 8), }}"


class Nasty:
    """An object whose unpickling would run code."""

    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


@pytest.mark.parametrize(
    ("upload", "error"),
    [
        pytest.param(npy(IMAGES.astype(np.float32)), UndecodableImageError, id="floats"),
        pytest.param(npy(IMAGES[0]), UndecodableImageError, id="a single image"),
        pytest.param(npy(np.zeros((3, 0, 5), np.uint8)), UndecodableImageError, id="no pixels"),
        pytest.param(npy(np.zeros((2, 5, 5, 7), np.uint8)), UndecodableImageError, id="seven channels"),
        pytest.param(npy(np.array([Nasty()]), allow_pickle=True), UndecodableImageError, id="pickle"),
        pytest.param(Upload("a.npy", "", npy(IMAGES).data[:-1]), UndecodableImageError, id="cut short"),
        pytest.param(Upload("a.npy", "", b"\x93NUMPY\x01\x00"), UndecodableImageError, id="no header"),
        pytest.param(
            Upload("a.npy", "", b"\x93NUMPY\x09\x00...."), UndecodableImageError, id="unknown version"
        ),
        pytest.param(Upload("a.zip", "", b"PK\x03\x04" + b"?" * 50), UndecodableImageError, id="damaged zip"),
        pytest.param(Upload("a.npy", "", DEEP_HEADER), UndecodableImageError, id="header of brackets"),
        pytest.param(with_header(PYTHON_2), UndecodableImageError, id="Python 2"),
        pytest.param(with_header(plain("[('a', '|u1')]")), UndecodableImageError, id="structured"),
        pytest.param(with_header(plain("'|O'")), UndecodableImageError, id="objects"),
        pytest.param(with_header(plain("'|u1'") + " " * 600), UndecodableImageError, id="long header"),
        pytest.param(
            with_header(plain("'|u1'") + " " * 2**21, version=2), UndecodableImageError, id="header of 2 MB"
        ),
        pytest.param(npy(np.zeros((2, 1, 5001), np.uint8)), TooLargeError, id="too wide"),
        pytest.param(npz(a=IMAGES, b=IMAGES), UndecodableImageError, id="which array?"),
        pytest.param(npy(np.zeros((21, 4, 4), np.uint8)), TooLargeError, id="too many images"),
        pytest.param(npy(np.zeros((2, 101, 100), np.uint8)), TooLargeError, id="too many pixels"),
        pytest.param(archive({f"{i}.png": b"" for i in range(21)}), TooLargeError, id="too many members"),
        pytest.param(archive({"a.png": bytes(100_001)}), TooLargeError, id="unpacks to too much"),
    ],
)
def test_an_archive_that_cannot_be_used_is_a_problem_that_says_why(upload, error):
    with pytest.raises(error) as raised:
        read(upload)

    assert raised.value.detail


@pytest.mark.parametrize("kind", ["-a", "-'|u1'", "{[]: 1}", "(" * 50, "1 if a else b", "'\\ud800'"])
def test_what_is_wrong_with_an_array_is_said_in_words_that_are_not_pythons(kind):
    with pytest.raises(UndecodableImageError) as raised:
        read(with_header(plain(kind)))

    said = raised.value.detail
    assert "a.npy" in said
    assert [word for word in ("0x", "ast.", "<", "line 1", "unhashable", "codec") if word in said] == []


@pytest.mark.parametrize("cut", [slice(0, -30), slice(0, 60)], ids=str)
def test_what_is_wrong_with_an_archive_is_said_in_words_that_are_not_pythons(cut):
    data = archive({"a.png": png(IMAGES[0]), "b.png": png(IMAGES[1])}).data

    with pytest.raises(UndecodableImageError) as raised:
        read(Upload("a.zip", "", b"PK\x03\x04" + data[cut]))

    assert raised.value.detail == "a.zip is a damaged archive. Send it again."


def test_an_array_that_claims_to_be_huge_takes_no_memory():
    """The header says a terabyte; the file has a few bytes."""
    small = npy(np.zeros((2, 4, 4), np.uint8)).data
    huge = small.replace(b"(2, 4, 4)", b"(999999, 999, 999)".ljust(9)).replace(b" " * 9, b"", 1)

    with pytest.raises(UndecodableImageError):
        read(Upload("huge.npy", "", huge))


@given(header=st.text(alphabet=st.sampled_from("()[]{}'-+*,:1058 Truedscfoapnh_|<u"), max_size=80))
@settings(max_examples=500)
@example(header="{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 5, 5), }")
@example(header="{'descr': '|u1', 'fortran_order': False, 'shape': (True, True, True), }")
@example(header="{'descr': (")
@example(header="-" * 9000 + "1")
@example(header="{{}: 1}")
def test_no_header_of_an_array_is_taken_at_its_word(header):
    """It is a Python literal of the sender's making, and may claim any shape for the 50 bytes that follow."""
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(50)

    with pytest.raises(UndecodableImageError):
        read(Upload("a.npy", "", data))


def test_an_array_with_a_plain_header_is_read():
    items = read(with_header(plain("'|u1'")))

    assert np.array_equal(contents(items), IMAGES)


def test_an_archive_comes_alone():
    with pytest.raises(AmbiguousFilesError, match=r"many\.npy holds many images"):
        read(Upload("a.png", "", png(IMAGES[0])), npy(IMAGES))


def test_an_archive_is_no_image_where_one_image_is_wanted():
    items = read(npy(IMAGES), archives=False)

    assert isinstance(items[0].content, Problem)


def test_an_empty_archive_holds_no_items():
    assert read(archive({})) == []

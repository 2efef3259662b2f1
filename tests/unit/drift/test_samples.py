"""Reading samples: features as they are, IDX files as MNIST has them, and what is neither."""

import gzip
import struct
import zipfile

import numpy as np
import pytest

from drift import UnreadableSamplesError
from drift.samples import read_features, read_idx

FEATURES = np.random.default_rng(0).normal(size=(5, 3))


def idx(images: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{images.ndim}i", 0, 0, 8, images.ndim, *images.shape) + images.tobytes()


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_features_of_several_files_become_one_sample(tmp_path):
    np.save(tmp_path / "a.npy", FEATURES)
    np.save(tmp_path / "b.npy", FEATURES[:2].astype(np.float32))

    samples = read_features([tmp_path / "a.npy", tmp_path / "b.npy"])

    assert np.allclose(samples.features, np.concatenate([FEATURES, FEATURES[:2]]))
    assert samples.names[4:6] == ["a.npy[4]", "b.npy[0]"]
    assert samples.probabilities is None


def test_softmax_outputs_may_lie_beside_the_features(tmp_path):
    outputs = np.full((5, 2), 0.5)

    samples = read_features([saved(tmp_path / "both.npz", features=FEATURES, probabilities=outputs)])

    assert np.allclose(samples.features, FEATURES)
    assert np.allclose(samples.probabilities, outputs)


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": np.zeros((5, 28, 28), np.uint8)},
        {"images": np.zeros((5, 28, 28), np.uint8), "labels": np.zeros(5)},
        {"pictures": np.zeros((5, 28, 28), np.uint8)},
    ],
    ids=" and ".join,
)
def test_images_are_no_features(tmp_path, arrays):
    assert read_features([saved(tmp_path / "images.npz", **arrays)]) is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": FEATURES[0]}, r"float64 of shape \(3,\)"),
        ({"features": FEATURES.astype(int)}, "int64"),
        ({"features": FEATURES, "probabilities": FEATURES[:2]}, "5 features, and softmax outputs of 2"),
        ({"images": np.zeros((5, 28, 28))}, "images are uint8"),
        ({"features": np.array([[object()]])}, "damaged"),
        ({"features": np.array(1.0)}, r"shape \(\)"),
        ({"features": FEATURES, "probabilities": np.array(1.0)}, r"shape \(\)"),
        ({"features": FEATURES * 1e300}, "too large for float32"),
        ({"features": FEATURES, "probabilities": FEATURES}, r"wrong\.npz: .*softmax\(dim=1\)"),
    ],
    ids=[
        *("a vector", "integers", "too few outputs", "images of floats", "pickled objects"),
        *("a number", "a number of outputs", "huge numbers", "logits"),
    ],
)
def test_what_can_be_no_features_is_refused(tmp_path, arrays, message):
    with pytest.raises(UnreadableSamplesError, match=message):
        read_features([saved(tmp_path / "wrong.npz", **arrays)])


def test_an_archive_of_pictures_with_an_array_among_them_holds_images(tmp_path):
    with zipfile.ZipFile(tmp_path / "mixed.zip", "w") as archive:
        archive.writestr("0.png", b"a picture")
        with archive.open("labels.npy", "w") as member:
            np.save(member, FEATURES)

    assert read_features([tmp_path / "mixed.zip"]) is None


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 10), }",
        "{'descr': (",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2, ",
    ],
    ids=["a size that no machine holds", "an open bracket", "another open bracket"],
)
def test_a_header_that_lies_is_a_damaged_file(tmp_path, header):
    text = header.encode().ljust(117) + b"\n"
    (tmp_path / "lie.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)

    with pytest.raises(UnreadableSamplesError, match="damaged"):
        read_features([tmp_path / "lie.npy"])


def test_features_and_images_do_not_mix(tmp_path):
    np.save(tmp_path / "features.npy", FEATURES)
    np.save(tmp_path / "images.npy", np.zeros((5, 28, 28), np.uint8))

    with pytest.raises(UnreadableSamplesError, match="either features or images"):
        read_features([tmp_path / "features.npy", tmp_path / "images.npy"])


def test_features_of_different_widths_do_not_mix(tmp_path):
    np.save(tmp_path / "wide.npy", FEATURES)
    np.save(tmp_path / "narrow.npy", FEATURES[:, :2])

    with pytest.raises(UnreadableSamplesError, match="different widths"):
        read_features([tmp_path / "wide.npy", tmp_path / "narrow.npy"])


@pytest.mark.parametrize("name", ["features.npy", "features.npz"])
def test_a_file_that_ends_too_soon_is_refused_or_no_features(tmp_path, name):
    np.save(tmp_path / "features.npy", FEATURES)
    np.savez_compressed(tmp_path / "features.npz", features=FEATURES)
    whole = (tmp_path / name).read_bytes()
    for length in range(8, len(whole), 7):
        (tmp_path / name).write_bytes(whole[:length])

        with pytest.raises(UnreadableSamplesError, match="damaged"):
            read_features([tmp_path / name])


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_files_are_read_as_mnist_has_them(tmp_path, pack):
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 6), np.uint8)
    (tmp_path / "images-idx3-ubyte").write_bytes(pack(idx(images)))

    assert np.array_equal(read_idx(tmp_path / "images-idx3-ubyte"), images)


@pytest.mark.parametrize("content", [b"", b"\0\0", b"\x89PNG", gzip.compress(b"text", mtime=0)], ids=repr)
def test_other_files_are_no_idx(tmp_path, content):
    (tmp_path / "file").write_bytes(content)

    assert read_idx(tmp_path / "file") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(np.zeros((4, 5, 6), np.uint8))[:-1], "size is not"),
        (struct.pack(">BBBB3i", 0, 0, 8, 3, -2, -3, 4) + bytes(24), "size is not"),
        (idx(np.zeros((4, 5, 6), np.uint8))[:9], "within its header"),
        (b"\0\0\x08", "within its header"),
        (idx(np.zeros(7, np.uint8)), r"shape \(7,\)"),
        (gzip.compress(idx(np.zeros((4, 5, 6), np.uint8)))[:-9], "damaged"),
    ],
    ids=["short", "negative sizes", "cut in the header", "nothing but the type", "labels", "short gzip"],
)
def test_damaged_idx_files_are_refused(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)

    with pytest.raises(UnreadableSamplesError, match=message):
        read_idx(tmp_path / "file")

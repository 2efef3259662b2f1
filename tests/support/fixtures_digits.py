"""Fixtures: digits, other pictures, and the files of a request that are made of them."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from tests.support.processes import ROOT
from train.data import Digits, MnistSplits, load_mnist

FASHION = ROOT.parent / "shared" / "data" / "fashion-mnist-900.npz"


@pytest.fixture(scope="session")
def splits() -> MnistSplits:
    """The digits that need no download."""
    return load_mnist("embedded", Path("data"))


@pytest.fixture(scope="session")
def held_out(splits: MnistSplits) -> Digits:
    """Digits that neither the training nor the reference has seen."""
    return splits.test


@pytest.fixture(scope="session")
def fashion() -> np.ndarray:
    """128 images of clothes, (128, 28, 28) uint8."""
    if not FASHION.exists():
        pytest.skip(f"needs Fashion-MNIST in {FASHION}")
    with np.load(FASHION) as file:
        images = file["images"]
    return images[np.random.default_rng(0).permutation(len(images))[:128]]


@pytest.fixture(scope="session")
def png() -> Callable[[np.ndarray | Tensor], bytes]:
    """Return a function that makes a PNG file of an image."""

    def encode(pixels: np.ndarray | Tensor) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(np.asarray(pixels)).save(stream, "PNG")
        return stream.getvalue()

    return encode


@pytest.fixture(scope="session")
def as_files(png: Callable[[np.ndarray | Tensor], bytes]) -> Callable[[Sequence], list]:
    """Return a function that makes images the files of a request."""

    def encode(images: Sequence) -> list:
        return [
            ("images", (f"{index:04d}.png", png(image), "image/png")) for index, image in enumerate(images)
        ]

    return encode

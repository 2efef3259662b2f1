"""The shifts that `bench.power` looks for, and what a model says of the images that they make."""

import argparse
import socket
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import FashionMNIST

from drift.corruptions import gaussian_blur, gaussian_noise, rotation, translation
from serving.models import forward
from train.data import DOWNLOAD_TIMEOUT_SECONDS, DatasetUnavailableError, Digits

NO_SHIFT = "no shift"
STRENGTHS = ("small", "medium", "large")

Corrupt = Callable[[Tensor, float, torch.Generator], Tensor]
Draw = Callable[[Tensor, torch.Generator], Tensor]


def blur(images: Tensor, sigma: float, _: torch.Generator) -> Tensor:
    return gaussian_blur(images, sigma)


# Small, medium, large. Those of noise, rotation and translation, and of the knock-out, are the paper's.
CORRUPTIONS: Mapping[str, tuple[Corrupt, tuple[float, float, float]]] = {
    "Gaussian noise": (gaussian_noise, (1, 10, 100)),  # of 255
    "Gaussian blur": (blur, (0.5, 1, 2)),  # pixels
    "rotation": (rotation, (10, 40, 90)),  # degrees
    "translation": (translation, (0.05, 0.2, 0.4)),  # of the width
}
KNOCKED_OUT = (0.1, 0.5, 1.0)  # share of a class that is left out
KNOCKED_OUT_CLASS = 0


@dataclass(frozen=True)
class Outputs:
    """What a model says of N images.

    Attributes:
        probabilities: Softmax outputs, shape (N, K), float32.
        features: Penultimate-layer features, shape (N, D), float32.
    """

    probabilities: Tensor
    features: Tensor

    @classmethod
    def of(cls, model: torch.jit.ScriptModule, images: Tensor) -> "Outputs":
        """Return what a model says of images (N, 1, 28, 28), uint8."""
        logits, features = forward(model, images)
        return cls(logits.softmax(dim=1), features)

    def take(self, rows: Tensor) -> "Outputs":
        return Outputs(self.probabilities[rows], self.features[rows])


@dataclass(frozen=True)
class Foreign:
    """Images of something else than digits: a name and a tensor (N, 28, 28), uint8."""

    name: str
    images: Tensor


@dataclass(frozen=True)
class Shift:
    """One way in which the images of a batch differ from those of the reference.

    Attributes:
        name: What is done, and how strongly.
        outputs: What the model says of all images that a batch may be made of.
        draw: Takes the held-out digits that are not in the reference, shape (k,), int64, in random order, and
            a generator; returns rows of `outputs`, of which a batch of m takes the first m.
    """

    name: str
    outputs: Outputs
    draw: Draw


def every_shift(
    model: torch.jit.ScriptModule, digits: Digits, foreign: Foreign | None, *, seed: int
) -> Iterator[Shift]:
    """Give every shift, the first of them none.

    Args:
        model: Takes uint8 (B, 1, 28, 28), returns logits and features.
        digits: Every digit that training never saw, N of them.
        foreign: Other images, where there are any.
        seed: Of noise, angles and steps.

    Source:
        Rabanser, Günnemann, Lipton, Failing Loudly (2019), section 4, with the parameters of its code. There
        rotation, translation, shear and zoom (and flips, but for the small one) are one image shift. Blur is
        not in the paper.
    """
    images = digits.images.unsqueeze(1)  # (N, 1, 28, 28)
    sharp = Outputs.of(model, images)
    generator = torch.Generator().manual_seed(seed)
    yield Shift(NO_SHIFT, sharp, unchanged)
    for name, (corrupt, amounts) in CORRUPTIONS.items():
        for strength, amount in zip(STRENGTHS, amounts, strict=True):
            corrupted = Outputs.of(model, corrupt(images, amount, generator))
            yield Shift(f"{name}, {strength}", corrupted, unchanged)
    for strength, share in zip(STRENGTHS, KNOCKED_OUT, strict=True):
        yield Shift(f"knock-out, {strength}", sharp, partial(knock_out, digits.labels, share))
    if foreign:
        seen = Outputs.of(model, foreign.images.unsqueeze(1))
        yield Shift(foreign.name, seen, partial(shuffled, len(foreign.images)))


def unchanged(rest: Tensor, _: torch.Generator) -> Tensor:
    return rest


def knock_out(labels: Tensor, share: float, rest: Tensor, generator: torch.Generator) -> Tensor:
    """Return the digits without a share of one class.

    Which of that class go is drawn anew: to take the first would thin them out most where small batches are
    taken from.
    """
    of_class = rest[labels[rest] == KNOCKED_OUT_CLASS]
    gone = of_class[torch.randperm(len(of_class), generator=generator)[: round(share * len(of_class))]]
    return rest[~torch.isin(rest, gone)]


def shuffled(count: int, _: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randperm(count, generator=generator)


def fetch_fashion(folder: Path) -> Foreign:
    """Return the test images of Fashion-MNIST, downloaded to a folder unless they lie there.

    Raises:
        DatasetUnavailableError: They cannot be had.
    """
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)  # torchvision's download has no timeout of its own
    try:
        split = FashionMNIST(str(folder), train=False, download=True)
    except (RuntimeError, OSError, ValueError, AssertionError) as error:  # the last two of damaged files
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise DatasetUnavailableError(
            f"Fashion-MNIST could be neither read from {folder} nor downloaded ({reason}).",
            "Name a file of images instead: --ood FILE.npz.",
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
    return Foreign("Fashion-MNIST", split.data)


def read_foreign(path: str) -> Foreign:
    """Return the images of a NumPy file, by the file's name.

    Raises:
        argparse.ArgumentTypeError: It cannot be read, or does not hold `images` (N, 28, 28), uint8.
    """
    try:
        with np.load(path) as file:
            images = file["images"]
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise argparse.ArgumentTypeError(f"{path} is no NumPy file with `images`: {error}") from error
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28) or not len(images):
        raise argparse.ArgumentTypeError(
            f"the images of {path} are {images.dtype} {images.shape}; they must be uint8 (N, 28, 28)"
        )
    return Foreign(Path(path).stem, torch.from_numpy(images))

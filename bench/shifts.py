"""The shifts that `bench.power` looks for, and what a model says of the images that they make."""

import argparse
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from study.conditions import (
    Condition,
    Corrupt,
    Foreign,
    Outputs,
    Predict,
    blur,
    foreign_condition,
    knock_out,
    unchanged,
)
from train.data import Digits, fetch_fashion_mnist
from vision.corruptions import gaussian_noise, rotation, translation
from vision.models.classifier import Classifier

NO_SHIFT = "no shift"
STRENGTHS = ("small", "medium", "large")

# Small, medium, large. Those of noise, rotation and translation, and of the knock-out, are the paper's.
CORRUPTIONS: Mapping[str, tuple[Corrupt, str, tuple[float, float, float]]] = {
    "Gaussian noise": (gaussian_noise, "of 255", (1, 10, 100)),
    "Gaussian blur": (blur, "pixels", (0.5, 1, 2)),
    "rotation": (rotation, "degrees", (10, 40, 90)),
    "translation": (translation, "of the width", (0.05, 0.2, 0.4)),
}
KNOCKED_OUT = (0.1, 0.5, 1.0)  # share of a class that is left out
KNOCKED_OUT_CLASS = 0


def predictor(model: Classifier) -> Predict:
    return lambda images: model.predict(list(images.numpy()))


def every_shift(
    predict: Predict, digits: Digits, foreign: Foreign | None, *, seed: int
) -> Iterator[Condition]:
    """Give every shift, the first of them none.

    Args:
        predict: Takes uint8 (N, 1, 28, 28), returns softmax outputs and features.
        digits: Every digit that training never saw, N of them.
        foreign: Other images, where there are any.
        seed: Of noise, angles and steps.

    Source:
        Rabanser, Günnemann, Lipton, Failing Loudly (2019), section 4, with the parameters of its code. There
        rotation, translation, shear and zoom (and flips, but for the small one) are one image shift. Blur is
        not in the paper.
    """
    images = digits.images.unsqueeze(1)  # (N, 1, 28, 28)
    sharp = Outputs.of(predict, images)
    generator = torch.Generator().manual_seed(seed)
    yield Condition(NO_SHIFT, NO_SHIFT, None, None, images, sharp, unchanged)
    for family, (corrupt, axis, levels) in CORRUPTIONS.items():
        for strength, level in zip(STRENGTHS, levels, strict=True):
            pool = corrupt(images, level, generator)
            seen = Outputs.of(predict, pool)
            yield Condition(f"{family}, {strength}", family, level, axis, pool, seen, unchanged)
    for strength, share in zip(STRENGTHS, KNOCKED_OUT, strict=True):
        draw = partial(knock_out, digits.labels, KNOCKED_OUT_CLASS, share)
        yield Condition(f"knock-out, {strength}", "knock-out", share, "of a class", images, sharp, draw)
    if foreign:
        yield foreign_condition(predict, foreign)


def fetch_fashion(folder: Path) -> Foreign:
    """Return the test images of Fashion-MNIST, downloaded to a folder unless they lie there.

    Raises:
        DatasetUnavailableError: They cannot be had.
    """
    return Foreign("Fashion-MNIST", fetch_fashion_mnist(folder).unsqueeze(1))


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
    return Foreign(Path(path).stem, torch.from_numpy(images).unsqueeze(1))

"""The shifts whose detection `bench.power` measures."""

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

# Small, medium, large. The paper has the same for noise, rotation and translation, and for the knock-out.
CORRUPTIONS: Mapping[str, tuple[Corrupt, str, tuple[float, float, float]]] = {
    "Gaussian noise": (gaussian_noise, "of 255", (1, 10, 100)),
    "Gaussian blur": (blur, "pixels", (0.5, 1, 2)),
    "rotation": (rotation, "degrees", (10, 40, 90)),
    "translation": (translation, "of the width", (0.05, 0.2, 0.4)),
}
KNOCKED_OUT = (0.1, 0.5, 1.0)  # share of the images of a class that is removed
KNOCKED_OUT_CLASS = 0


def predictor(model: Classifier) -> Predict:
    return lambda images: model.predict(list(images.numpy()))


def every_shift(
    predict: Predict, digits: Digits, foreign: Foreign | None, *, seed: int
) -> Iterator[Condition]:
    """Yield every shift; the first is no shift.

    Args:
        predict: Takes uint8 (N, 1, 28, 28), returns softmax outputs and features.
        digits: All N digits that training has not seen.
        foreign: Images of other things, if there are any.
        seed: Of noise, angles and translations.

    Source:
        Rabanser, Günnemann, Lipton, Failing Loudly (2019), section 4, with the parameters of its code. The
        paper combines rotation, translation, shear and zoom (and flips, unless small) to one image shift, and
        has no blur.
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
    """Return the test images of Fashion-MNIST, downloaded to a folder unless it holds them.

    Raises:
        DatasetUnavailableError: They can be neither read nor downloaded.
    """
    return Foreign("Fashion-MNIST", fetch_fashion_mnist(folder).unsqueeze(1))


def read_foreign(path: str) -> Foreign:
    """Return the images of a NumPy file, under the file's name.

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

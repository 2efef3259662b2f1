"""The models that the servers serve, and the images that they are sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from bench.bodies import encoded, png
from bento import store
from train.data import load_mnist

IMAGES = 16  # different ones, sent in turn
SIDE = 224  # pixels: width and height of a photograph
QUALITY = 90  # of its JPEG file


@dataclass(frozen=True)
class Workload:
    """A model of the store, and images for it.

    Attributes:
        model: Its name in the store.
        folder: Its folder there.
        preparation: How an image becomes an input: `digits` or `photograph`.
        images: Image files.
        media_type: Of the image files.
    """

    model: str
    folder: Path
    preparation: str
    images: Sequence[bytes]
    media_type: str


def load_workload(model: str, folder: Path) -> Workload:
    """Return the newest version of a model, with images for it.

    Args:
        model: Its name in the store.
        folder: Where downloaded data sets would be.

    Raises:
        NoSuchModelError: The store has none.
        DamagedModelError: What the store says of it cannot be read.
    """
    stored = store.find(model)
    if model == "mnist":
        digits = load_mnist("embedded", folder).test.images[:IMAGES].numpy()
        images, media_type = [png(digit) for digit in digits], "image/png"
    else:
        images, media_type = photographs(IMAGES), "image/jpeg"
    return Workload(model, stored.folder, stored.metadata["preprocessing"], images, media_type)


def photographs(count: int) -> list[bytes]:
    """Return different JPEG files, cut at random from scikit-learn's two photographs."""
    generator = np.random.default_rng(0)
    files = []
    for index in range(count):
        picture = Image.fromarray(load_sample_images().images[index % 2])
        side = int(generator.integers(SIDE, picture.height))
        left, top = (int(generator.integers(length - side)) for length in picture.size)
        part = picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
        files.append(encoded(part, "JPEG", quality=QUALITY))
    return files

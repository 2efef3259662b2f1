"""The ways to prepare pictures for a model, by the name that its metadata calls `preprocessing`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

from vision.images.downscale import Downscale
from vision.preprocessing.imagenet import prepare_photograph
from vision.preprocessing.mnist import MAX_WORKING_SIZE, to_mnist
from vision.preprocessing.prepared import Prepared

# A resized picture looks the same if it was downscaled before to twice the size or more.
OVERSAMPLING = 2


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes one row of a model's input.

    Attributes:
        prepare: Turns a picture into the model's input, or raises the Problem that the picture has.
        downscale: How far a picture may be downscaled before; None where every pixel counts.
    """

    prepare: Callable[[Image.Image], Prepared]
    downscale: Downscale | None = None


def preparation_of(metadata: Mapping[str, Any]) -> Preparation:
    """Return the preparation that a model's metadata names.

    Raises:
        KeyError: It names none, or an unknown one.
    """
    match metadata["preprocessing"]:
        case "digits":
            return Preparation(to_mnist, Downscale("longer", OVERSAMPLING * MAX_WORKING_SIZE))
        case "photograph":
            resize_size, crop_size = int(metadata["resize_size"]), int(metadata["crop_size"])
            prepare = partial(prepare_photograph, resize_size=resize_size, crop_size=crop_size)
            return Preparation(prepare, Downscale("shorter", OVERSAMPLING * resize_size))
        case unknown:
            raise KeyError(unknown)

"""From pictures to a model's inputs, in the way that its metadata calls `preprocessing`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

from vision.images.downscale import Spare
from vision.preprocessing.imagenet import prepare_photograph
from vision.preprocessing.mnist import MAX_WORKING_SIZE, to_mnist
from vision.preprocessing.prepared import Prepared

# Resizing looks at more pixels than it makes; twice as many on a side are enough not to see a difference.
SPARE_FACTOR = 2


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes one row of a model's input.

    Attributes:
        prepare: Makes a picture into what the model takes, or raises the Problem that it has.
        spare: By which whole factor a picture of some width and height may be made smaller before; None where
            every pixel counts.
    """

    prepare: Callable[[Image.Image], Prepared]
    spare: Spare | None = None


def preparation_of(metadata: Mapping[str, Any]) -> Preparation:
    """Return the preparation that a model's metadata names.

    Raises:
        KeyError: It names none that is known here.
    """
    return PREPARATIONS[metadata["preprocessing"]](metadata)


def digits(_metadata: Mapping[str, Any]) -> Preparation:
    return Preparation(to_mnist, Spare("longer", SPARE_FACTOR * MAX_WORKING_SIZE))


def photographs(metadata: Mapping[str, Any]) -> Preparation:
    resize_size, crop_size = int(metadata["resize_size"]), int(metadata["crop_size"])
    prepare = partial(prepare_photograph, resize_size=resize_size, crop_size=crop_size)
    return Preparation(prepare, Spare("shorter", SPARE_FACTOR * resize_size))


PREPARATIONS: Mapping[str, Callable[[Mapping[str, Any]], Preparation]] = {
    "digits": digits,
    "photograph": photographs,
}

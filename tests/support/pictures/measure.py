"""What becomes of pictures of each kind: read right, refused, or answered with a warning."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.support.pictures.kinds import Kind
from train.data import Digits
from vision.errors import Problem
from vision.images.decode import decode_image
from vision.images.limits import ImageLimits
from vision.models.classifier import Classifier
from vision.preprocessing.prepared import Prepared

LIMITS = ImageLimits(max_pixels=50_000_000)


@dataclass(frozen=True)
class Outcome:
    """Shares of the pictures of a kind."""

    right: float
    refused: float
    warned: float


def files(kind: Kind, digits: Sequence[np.ndarray]) -> list[bytes]:
    """Return a file for each digit: the same in every run, and drawn at random like no other."""
    name = zlib.crc32(kind.name.encode())
    return [kind.draw(digit, np.random.default_rng([name, index])) for index, digit in enumerate(digits)]


def outcome_of(kind: Kind, classifier: Classifier, digits: Digits) -> Outcome:
    """Have pictures of some digits prepared and classified as the service does."""
    read = [prepared(data, classifier) for data in files(kind, digits.images.numpy())]
    usable = [index for index, one in enumerate(read) if one]
    right = 0
    if usable:
        probabilities, _ = classifier.predict([read[index].pixels for index in usable])
        right = int((probabilities.argmax(dim=1) == digits.labels[usable]).sum())
    warned = sum(one is not None and one.warning is not None for one in read)
    return Outcome(right / len(read), 1 - len(usable) / len(read), warned / len(read))


def prepared(data: bytes, classifier: Classifier) -> Prepared | None:
    try:
        picture = decode_image(data, LIMITS, downscale=classifier.preparation.downscale)
        return classifier.preparation.prepare(picture)
    except Problem:
        return None

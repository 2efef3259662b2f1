"""Where the study's images come from: the model's data set or files, and images of something else."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from drift.errors import UnreadableSamplesError
from study.conditions import KNOCK_OUT, NO_DRIFT, Foreign, Predict, corruptions
from study.letters import letters
from study.measure import left_for_reference
from train.data import fetch_fashion_mnist, load_by_name
from train.errors import DatasetUnavailableError
from vision.embed import EmbeddedImages, embed_images
from vision.models.classifier import Classifier

FEWEST = 100  # images in the reference
LETTERS = 500
ENOUGH = 2000  # images of something else, among which every run finds others
FASHION, DRAWN = "Fashion-MNIST", "letters A to J"
RESERVED_NAMES = {NO_DRIFT, KNOCK_OUT, DRAWN, *(one.family for one in corruptions(1))}


def predictor(classifier: Classifier) -> Predict:
    def predict(images: Tensor) -> tuple[Tensor, Tensor]:
        logits, features = classifier.engine(images)
        return logits.softmax(dim=1), features

    return predict


def held_out(
    paths: Sequence[Path], data_folder: Path, classifier: Classifier
) -> tuple[Tensor, Tensor | None, str, list[str]]:
    """Return images (N, C, H, W) that the model has not seen in training, their labels, source and remarks.

    Raises:
        UnreadableSamplesError: There are no paths, and the model's data set is not known or out of reach.
    """
    if paths:
        seen = embed_images(paths, classifier, progress=True)
        remarks = ["The labels of these images: classes are those that the model takes them for."]
        return seen.inputs, None, ", ".join(map(str, paths)), remarks + unusable(seen)
    try:
        data = load_by_name(str(classifier.metadata.get("dataset")), data_folder)
    except DatasetUnavailableError as error:
        raise UnreadableSamplesError(
            f"{error.args[0]} Name a folder of images that {classifier.tag} has not seen in training."
        ) from error
    return prepared(classifier, data.held_out.images), data.held_out.labels, data.name, []


def unusable(seen: EmbeddedImages) -> list[str]:
    """Return a remark on images that could not be used, where there are any."""
    if not seen.failed:
        return []
    return [f"{len(seen.failed)} images that cannot be used, such as {seen.failed[0].filename}."]


def sizes_within(n_images: int, sizes: Sequence[int]) -> list[int]:
    """Return the sizes for which there are enough images.

    Raises:
        UnreadableSamplesError: There are too few for any.
    """
    within = sorted(m for m in set(sizes) if left_for_reference(n_images, [m]) >= FEWEST)
    if not within:
        raise UnreadableSamplesError(
            f"{n_images} images are too few: a tenth gives the lengthscale, and what is left must make "
            f"a reference of {FEWEST} and a batch of {min(sizes)}."
        )
    return within


def foreign_images(
    paths: Sequence[Path] | None,
    name: str | None,
    data_folder: Path,
    classifier: Classifier,
    *,
    count: int,
    seed: int,
) -> tuple[list[Foreign], list[str]]:
    """Return sets of images of something else, as the model takes them, and remarks on those left out.

    Raises:
        UnreadableSamplesError: They cannot be used, or have the name of another condition.
    """
    drawn, _ = letters(
        lambda image: classifier.preparation.prepare(image).pixels, count=max(LETTERS, count), seed=seed
    )
    sets, remarks = list[Foreign](), list[str]()
    if paths:
        name = name or ", ".join(path.stem for path in paths)
        if name in RESERVED_NAMES:
            raise UnreadableSamplesError(f"{name!r} is another condition's name. Give one with --ood-name.")
        seen = embed_images(paths, classifier, progress=True)
        sets.append(Foreign(name, thinned(seen.inputs)))
        remarks += unusable(seen)
    else:
        try:
            fashion = fetch_fashion_mnist(data_folder)
        except DatasetUnavailableError as error:
            remarks.append(" ".join(error.args))
        else:
            sets.append(Foreign(FASHION, prepared(classifier, thinned(fashion))))
    return [*sets, Foreign(DRAWN, drawn)], remarks


def thinned(images: Tensor) -> Tensor:
    """Return at most ENOUGH of the images, evenly taken from all."""
    return images[:: -(-len(images) // ENOUGH)]


def prepared(classifier: Classifier, images: Tensor) -> Tensor:
    return torch.stack(
        [
            torch.from_numpy(classifier.preparation.prepare(Image.fromarray(image.numpy())).pixels.copy())
            for image in images
        ]
    )

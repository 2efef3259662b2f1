"""Images as the service sees them: the same decoding, the same preparation, the same model.

A reference and a batch whose images were prepared in different ways would look like drift. So the command
line, and it alone in this package, knows the service and BentoML's store.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import torch
from bentoml.exceptions import BentoMLException
from torch import Tensor

from drift.corruptions import gaussian_blur
from drift.errors import InvalidReferenceError, UnreadableSamplesError
from drift.fitting import Recipe, fit_certified, mention_copies
from drift.progress import followed
from drift.reference import Reference
from drift.samples import Samples, read_idx
from serving.answers import image_errors
from serving.batches import Item, read_batch
from serving.errors import ModelNotLoadedError, Problem
from serving.files import NoImagesError, image_files
from serving.images import Pixels
from serving.models import Classifier, load_classifier
from serving.schemas import ImageError
from serving.settings import Settings
from serving.uploads import Upload

CHUNK = 64  # images that a model sees, or that are blurred, between two steps of the progress bar
# The service's limits, and its settings in the environment, are for files that strangers send.
LIMITS = Settings.model_construct(max_images=10_000_000, max_body_bytes=2**40, max_pixels=10**9)


@dataclass(frozen=True)
class SeenImages:
    """Images, and what a model sees in them.

    Attributes:
        inputs: As the model takes them, shape (N, C, H, W), uint8.
        samples: What the model sees.
        failed: Images that could not be used.
    """

    inputs: Tensor
    samples: Samples
    failed: Sequence[ImageError]


def load_model(name: str) -> Classifier:
    """Return a model of the store.

    Args:
        name: Its name, or name:version.

    Raises:
        ModelNotLoadedError: There is none, or it cannot be used.
    """
    try:
        stored = bentoml.models.get(name)
    except (BentoMLException, ValueError) as error:  # the latter of names that cannot be
        raise ModelNotLoadedError(
            f"The model store holds no {name!r}: {error} `bentoml models list` shows what there is."
        ) from error
    version = str(stored.tag.version)
    metadata = stored.info.metadata
    return load_classifier(Path(stored.path), stored.tag.name, version, metadata, precision="auto")


def see(paths: Sequence[Path], classifier: Classifier, *, progress: bool) -> SeenImages:
    """Return what a model sees in image files, folders of them, and archives.

    Args:
        paths: Folders, image files, and `.npy`, `.npz`, IDX and zip files of images.
        classifier: The model.
        progress: Whether to show a progress bar.

    Raises:
        UnreadableSamplesError: An archive is damaged, or there is no image that can be used.
        NoImagesError: A folder holds no image.
        OSError: A file cannot be read at all.
    """
    usable, failed = list[tuple[str, Pixels]](), list[ImageError]()
    for item in followed(read_items(paths, classifier), "images", progress=progress):
        if isinstance(item.content, Problem):
            failed += image_errors([item])
        else:
            usable.append((item.filename, item.content.pixels))
    if not usable:
        if not failed:
            raise UnreadableSamplesError(f"There is no image in {', '.join(map(str, paths))}.")
        first = f"{failed[0].filename}: {failed[0].error.detail}"
        raise UnreadableSamplesError(f"None of the {len(failed)} images can be used. The first: {first}")
    inputs = torch.from_numpy(np.stack([pixels for _, pixels in usable]))
    logits, features = predict(classifier, inputs, progress=progress)
    samples = Samples([name for name, _ in usable], features, logits.softmax(dim=1))
    return SeenImages(inputs, samples, failed)


def fit_on_images(
    folder: Path, metadata: Mapping[str, Any], paths: Sequence[Path], *, seed: int, progress: bool
) -> Reference:
    """Return a certified reference of what a model sees in images.

    Args:
        folder: The model's files, as they lie in the store.
        metadata: What is known of the model.
        paths: As `see` takes them.
        seed: Of everything random.
        progress: Whether to show progress bars.

    Raises:
        UnreadableSamplesError: An image cannot be used, or there are too few or none.
        DriftError: As `fit_certified`.
        OSError: A file cannot be read at all.
    """
    try:
        classifier = load_classifier(folder, folder.parent.name, folder.name, metadata, precision="auto")
    except ModelNotLoadedError as error:
        raise InvalidReferenceError(f"No reference can be fitted for this model. {error.detail}") from error
    try:
        seen = see(paths, classifier, progress=progress)
    except NoImagesError as error:
        raise UnreadableSamplesError(str(error)) from error
    if seen.failed:
        first = seen.failed[0]
        raise UnreadableSamplesError(
            f"{len(seen.failed)} of the images cannot be used; mend or remove them. The first: "
            f"{first.filename}: {first.error.detail}"
        )
    mention_copies(seen.samples)
    blur = partial(blur_of, classifier, seen.inputs)
    return fit_certified(seen.samples, Recipe(seed=seed), blur=blur, progress=progress)


def read_items(paths: Sequence[Path], classifier: Classifier) -> Iterator[Item]:
    """Give each image as its model takes it, or with the problem that it has, numbered through all files."""
    count = 0
    for name, path in image_files(paths):
        images = read_idx(path)
        data = path.read_bytes() if images is None else as_npy(images)
        try:
            items = read_batch([Upload(name, "", data)], LIMITS, classifier.preparation, archives=True)
        except Problem as problem:
            raise UnreadableSamplesError(f"{path}: {problem.detail}") from problem
        yield from (Item(count + item.index, item.filename, item.content) for item in items)
        count += len(items)


def as_npy(images: Pixels) -> bytes:
    stream = io.BytesIO()
    np.save(stream, images)
    return stream.getvalue()


def predict(classifier: Classifier, inputs: Tensor, *, progress: bool) -> tuple[Tensor, Tensor]:
    """Return logits and features of inputs (N, C, H, W), with a progress bar."""
    parts = inputs.split(CHUNK)
    followed_parts = followed(parts, classifier.tag, len(parts), progress=progress)
    outputs = [classifier.engine(part) for part in followed_parts]
    return torch.cat([logits for logits, _ in outputs]), torch.cat([features for _, features in outputs])


def blur_of(classifier: Classifier, inputs: Tensor, chosen: Tensor) -> Callable[[float], Tensor]:
    """Return a function from a blur to the features of chosen inputs."""

    def blurred(sigma: float) -> Tensor:
        parts = inputs[chosen].split(CHUNK)  # blurred, they take many times the memory that they take sharp
        return torch.cat([classifier.engine(gaussian_blur(part, sigma))[1] for part in parts])

    return blurred

"""Features of image files, read and prepared by the code that the service reads images with.

A reference and a batch whose images were prepared in different ways would look like drift.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drift.errors import InvalidReferenceError, UnreadableSamplesError
from drift.fitting import Recipe, fit_certified, mention_copies
from drift.progress import followed
from drift.reference import Reference
from drift.samples import Samples, read_idx
from vision.corruptions import gaussian_blur
from vision.errors import ModelNotLoadedError, Problem
from vision.images.decode import Pixels
from vision.images.folders import NoImagesError, image_files
from vision.images.limits import ImageLimits
from vision.images.read import Item, Upload, read_uploads
from vision.models.classifier import Classifier, load_classifier

CHUNK = 64  # images between two steps of the progress bar
# Local files are trusted, so their limits are far higher than the service's.
LIMITS = ImageLimits(max_images=10_000_000, max_bytes=2**40, max_pixels=10**9)


@dataclass(frozen=True)
class EmbeddedImages:
    """Images with their features.

    Attributes:
        inputs: The images as the model takes them, shape (N, C, H, W), uint8.
        samples: The model's features and softmax outputs for them.
        failed: Images that could not be used, each with its problem.
    """

    inputs: Tensor
    samples: Samples
    failed: Sequence[Item]


def embed_images(paths: Sequence[Path], classifier: Classifier, *, progress: bool) -> EmbeddedImages:
    """Return the features of images in files, folders and archives.

    Args:
        paths: Folders, image files, and `.npy`, `.npz`, IDX and zip files of images.
        progress: Whether to show a progress bar.

    Raises:
        UnreadableSamplesError: An archive is damaged, or there is no image that can be used.
        NoImagesError: A folder holds no image.
        OSError: A file cannot be read at all.
    """
    usable, failed = list[tuple[str, Pixels]](), list[Item]()
    for item in followed(read_items(paths, classifier), "images", progress=progress):
        if isinstance(item.content, Problem):
            failed.append(item)
        else:
            usable.append((item.filename, item.content.pixels))
    if not usable:
        if not failed:
            raise UnreadableSamplesError(f"There is no image in {', '.join(map(str, paths))}.")
        first = f"{failed[0].filename}: {failed[0].content}"
        raise UnreadableSamplesError(f"None of the {len(failed)} images can be used. The first: {first}")
    inputs = torch.from_numpy(np.stack([pixels for _, pixels in usable]))
    parts = inputs.split(CHUNK)
    followed_parts = followed(parts, classifier.tag, len(parts), progress=progress)
    logits, features = map(torch.cat, zip(*map(classifier.engine, followed_parts), strict=True))
    samples = Samples([name for name, _ in usable], features, logits.softmax(dim=1))
    return EmbeddedImages(inputs, samples, failed)


def fit_on_images(
    folder: Path, metadata: Mapping[str, Any], paths: Sequence[Path], *, seed: int, progress: bool
) -> Reference:
    """Return a certified drift reference of a model's features of images.

    Args:
        folder: The model's folder in the store.
        paths: As `embed_images` takes them.
        seed: Seed of everything random.
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
        seen = embed_images(paths, classifier, progress=progress)
    except NoImagesError as error:
        raise UnreadableSamplesError(str(error)) from error
    if seen.failed:
        first = seen.failed[0]
        raise UnreadableSamplesError(
            f"{len(seen.failed)} of the images cannot be used; mend or remove them. The first: "
            f"{first.filename}: {first.content}"
        )
    mention_copies(seen.samples)
    blur = partial(blur_of, classifier, seen.inputs)
    return fit_certified(seen.samples, Recipe(seed=seed), blur=blur, progress=progress)


def read_items(paths: Sequence[Path], classifier: Classifier) -> Iterator[Item]:
    """Yield each image as its model takes it, or with its problem, numbered through all files."""
    count = 0
    for name, path in image_files(paths):
        if (images := read_idx(path)) is None:
            data = path.read_bytes()
        else:
            np.save(stream := io.BytesIO(), images)
            data = stream.getvalue()
        try:
            items = read_uploads([Upload(name, "", data)], LIMITS, classifier.preparation, archives=True)
        except Problem as problem:
            raise UnreadableSamplesError(f"{path}: {problem.detail}") from problem
        yield from (Item(count + item.index, item.filename, item.content) for item in items)
        count += len(items)


def blur_of(classifier: Classifier, inputs: Tensor, chosen: Tensor) -> Callable[[float], Tensor]:
    """Return a function from a blur to the features of chosen inputs."""

    def blurred(sigma: float) -> Tensor:
        parts = inputs[chosen].split(CHUNK)  # blurring takes many times the memory of the inputs
        return torch.cat([classifier.engine(gaussian_blur(part, sigma))[1] for part in parts])

    return blurred

"""A classifier as it lies in the model store: TorchScript, class names, drift reference, golden answers."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from drift import InvalidReferenceError, Reference
from serving.commands import MEND
from serving.settings import Choice
from vision.errors import ModelNotLoadedError
from vision.images.decode import Pixels
from vision.models.engine import Engine, load_engine
from vision.preprocessing.registry import Preparation, preparation_of

logger = logging.getLogger("bentoml.driftbento")  # BentoML shows what its own loggers say

GOLDEN = ("images", "logits", "features")
CHECKSUMS = {  # what the metadata calls each file's
    "model.pt": "weights_sha256",
    "golden.safetensors": "golden_sha256",
    "labels.json": "labels_sha256",
    "reference.safetensors": "reference_sha256",
}


STACKED_AT_A_TIME = 64  # pictures, of which there is a copy then: whole passes of every engine


@dataclass(frozen=True)
class Classifier:
    """A model that is loaded and answers as it did when it was trained.

    Attributes:
        name: Name in the model store.
        version: Version in the model store.
        metadata: What training recorded.
        labels: Class names, in the order of the logits.
        reference: What drift is measured against, where there is one.
        engine: Takes uint8 (N, C, H, W), returns logits (N, K) and features (N, D), float32.
        preparation: How a picture becomes one row of that input.
    """

    name: str
    version: str
    metadata: Mapping[str, Any]
    labels: Sequence[str]
    reference: Reference | None
    engine: Engine
    preparation: Preparation

    @property
    def tag(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def trained(self) -> bool:
        """Whether it has learnt anything: the answers of random weights mean nothing."""
        return bool(self.metadata.get("trained", True))

    def predict(
        self, inputs: Sequence[Pixels], checkpoint: Callable[[], None] = lambda: None
    ) -> tuple[Tensor, Tensor]:
        """Return softmax probabilities (N, K) and features (N, D) of N prepared pictures.

        Args:
            inputs: The pictures.
            checkpoint: Called before each pass of the network; what it raises ends the work.
        """
        parts = [
            self.engine(stacked(inputs[start : start + STACKED_AT_A_TIME]), checkpoint)
            for start in range(0, len(inputs), STACKED_AT_A_TIME)
        ]
        logits, features = map(torch.cat, zip(*parts, strict=True))
        return logits.softmax(dim=1), features


def stacked(inputs: Sequence[Pixels]) -> Tensor:
    """Return pictures as one tensor (N, C, H, W) whose channels lie side by side, each copied once."""
    shape = len(inputs), *inputs[0].shape
    rows = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
    np.stack(inputs, out=rows.numpy())
    return rows


@dataclass(frozen=True)
class UnavailableModel:
    """A model that should be there and cannot be used.

    Attributes:
        name: Name in the model store.
        version: Version in the model store, empty when there is none.
        reason: What is wrong, and what would mend it.
    """

    name: str
    version: str
    reason: str


def load_classifier(
    folder: Path,
    name: str,
    version: str,
    metadata: Mapping[str, Any],
    *,
    precision: Choice = "float32",
) -> Classifier:
    """Load a model from its folder in the store, and make sure that it answers as it did in training.

    Args:
        folder: The model's folder.
        name: Its name in the store.
        version: Its version in the store.
        metadata: What the store says of it.
        precision: Of the weights, where the model takes it.

    Raises:
        ModelNotLoadedError: A file is missing or damaged, or the golden check fails.
    """
    tag = f"{name}:{version}"
    for file in CHECKSUMS:
        with reading(file, tag):
            check_checksum(folder / file, metadata)
    with reading("golden.safetensors", tag):
        golden = load_golden(folder / "golden.safetensors")
    with reading("model.pt", tag):
        takes = metadata.get("precisions", ["float32"])
        engine = load_engine(folder / "model.pt", golden, takes=takes, precision=precision)
    with reading("labels.json", tag):
        labels = json.loads((folder / "labels.json").read_text())
    reference_file = folder / "reference.safetensors"
    with reading(reference_file.name, tag):
        reference = Reference.load(reference_file) if reference_file.exists() else None
    with reading("model.yaml", tag):
        check_fit(golden, labels, reference, metadata)
        preparation = preparation_of(metadata)
    return Classifier(name, version, metadata, labels, reference, engine, preparation)


@contextmanager
def reading(file: str, tag: str) -> Iterator[None]:
    """Say which model cannot be loaded and which of its files is at fault; where that lies, the log says.

    Raises:
        ModelNotLoadedError: Something is.
    """
    try:
        yield
    except ModelNotLoadedError as error:
        raise ModelNotLoadedError(f"{tag}: {error.detail}") from error
    except Exception as error:
        logger.exception("%s of %s could not be loaded", file, tag)
        fault = "is damaged"
        if isinstance(error, FileNotFoundError):
            fault = "is missing"
        elif isinstance(error, (OSError, MemoryError)):
            fault = f"cannot be read ({type(error).__name__})"
        elif isinstance(error, InvalidReferenceError):
            fault = "is damaged, or comes from another version of this software"
        raise ModelNotLoadedError(f"{tag}: {file} {fault}. {MEND}") from error


def load_golden(path: Path) -> dict[str, Tensor]:
    """Return what the model saw and answered in training.

    Raises:
        ValueError: Some of it is not there.
    """
    # Read, not mapped into memory: whoever cuts a mapped file short kills the process.
    golden = load(path.read_bytes())
    if missing := sorted(set(GOLDEN) - golden.keys()):
        raise ValueError(f"{path} lacks {', '.join(missing)}.")
    return golden


def check_checksum(path: Path, metadata: Mapping[str, Any]) -> None:
    """Make sure that a file is the one that training has stored, where the metadata says which that is.

    Raises:
        ModelNotLoadedError: It is not.
        FileNotFoundError: There is none, and there was.
    """
    expected = metadata.get(CHECKSUMS[path.name])
    if expected is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ModelNotLoadedError(
            f"{path.name} is damaged or another model's: its checksum is not the one in model.yaml. {MEND}"
        )


def check_fit(
    golden: Mapping[str, Tensor], labels: Any, reference: Reference | None, metadata: Mapping[str, Any]
) -> None:
    """Make sure that class names and reference are those of the model.

    Raises:
        ModelNotLoadedError: They are not.
    """
    n_classes, n_features = golden["logits"].shape[1], golden["features"].shape[1]
    if (
        not isinstance(labels, list)
        or len(labels) != n_classes
        or not all(isinstance(x, str) for x in labels)
    ):
        raise ModelNotLoadedError(f"labels.json does not hold {n_classes} names, one for each class. {MEND}")
    if reference is None:
        return
    of_features, of_classes = reference.features.shape[1], reference.probabilities.shape[1]
    if of_features != n_features:
        raise ModelNotLoadedError(
            f"reference.safetensors has {of_features} features; the model has {n_features}. {MEND}"
        )
    if of_classes not in (0, n_classes):
        raise ModelNotLoadedError(
            f"reference.safetensors has {of_classes} classes; the model has {n_classes}. {MEND}"
        )
    if reference.source not in ("", metadata.get("weights_sha256")):
        raise ModelNotLoadedError(f"reference.safetensors holds another model's features. {MEND}")

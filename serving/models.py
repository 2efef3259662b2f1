"""A classifier as it lies in the model store: TorchScript, class names, drift reference, golden answers."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from drift import Reference
from serving.engine import Choice, Engine, load_engine
from serving.errors import ModelNotLoadedError
from serving.images import Pixels
from serving.metrics import Meter, metrics
from serving.preparations import Preparation, preparation_of

logger = logging.getLogger("bentoml.driftbento")  # BentoML shows what its own loggers say


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

    @cached_property
    def meter(self) -> Meter:
        """Counts what it is asked."""
        return Meter(metrics(), self.name, self.labels)

    def predict(
        self, inputs: Sequence[Pixels], checkpoint: Callable[[], None] = lambda: None
    ) -> tuple[Tensor, Tensor]:
        """Return softmax probabilities (N, K) and features (N, D) of N prepared pictures.

        Args:
            inputs: The pictures.
            checkpoint: Called before each pass of the network; what it raises ends the work.
        """
        logits, features = self.engine(stacked(inputs), checkpoint)
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
    try:
        golden = load_file(folder / "golden.safetensors")
        takes = metadata.get("precisions", ["float32"])
        engine = load_engine(folder / "model.pt", golden, takes=takes, precision=precision)
        labels = json.loads((folder / "labels.json").read_text())
        reference_file = folder / "reference.safetensors"
        reference = Reference.load(reference_file) if reference_file.exists() else None
        check_fit(golden, labels, reference)
        return Classifier(name, version, metadata, labels, reference, engine, preparation_of(metadata))
    except ModelNotLoadedError:
        raise
    except Exception as error:
        logger.exception("%s:%s could not be loaded", name, version)
        raise ModelNotLoadedError(
            f"{name}:{version} could not be loaded: {type(error).__name__}. The log says more."
        ) from error


def check_fit(golden: Mapping[str, Tensor], labels: Any, reference: Reference | None) -> None:
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
        raise ModelNotLoadedError(f"labels.json does not hold {n_classes} names, one for each class.")
    if reference is not None and reference.features.shape[1] != n_features:
        raise ModelNotLoadedError(
            f"The drift reference has {reference.features.shape[1]} features; the model has {n_features}."
        )
    if reference is not None and reference.probabilities.shape[1] not in (0, n_classes):
        raise ModelNotLoadedError(
            f"The drift reference has {reference.probabilities.shape[1]} classes; the model has {n_classes}."
        )

"""A stored model in memory, ready to classify images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drift import Reference
from vision.images.decode import Pixels
from vision.models import bundle
from vision.models.engine import Choice, Engine, Outputs
from vision.preprocessing.registry import Preparation

STACKED_AT_A_TIME = 64  # pictures copied into one tensor, a multiple of every engine's largest pass


@dataclass(frozen=True)
class Classifier:
    """A loaded model that gives the answers that it gave in training.

    Attributes:
        name: Name in the model store.
        version: Version in the model store.
        metadata: What training recorded.
        labels: Class names, in the order of the logits.
        reference: The drift reference, if the model has one.
        engine: Takes uint8 (N, C, H, W), returns logits (N, K) and features (N, D), float32.
        preparation: Turns a picture into one row of the engine's input.
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
        """Whether the weights are trained: the answers of random weights mean nothing."""
        return bool(self.metadata.get("trained", True))

    def predict(self, inputs: Sequence[Pixels], checkpoint: Callable[[], None] = lambda: None) -> Outputs:
        """Return softmax probabilities (N, K) and features (N, D) of N prepared pictures.

        Args:
            checkpoint: Called before each pass of the network; an error that it raises ends the work.
        """
        parts = [
            self.engine(stacked(inputs[start : start + STACKED_AT_A_TIME]), checkpoint)
            for start in range(0, len(inputs), STACKED_AT_A_TIME)
        ]
        logits, features = map(torch.cat, zip(*parts, strict=True))
        return logits.softmax(dim=1), features


def stacked(inputs: Sequence[Pixels]) -> Tensor:
    """Return pictures as one tensor (N, C, H, W), channels last in memory, copying each once."""
    shape = len(inputs), *inputs[0].shape
    rows = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
    np.stack(inputs, out=rows.numpy())
    return rows


def load_classifier(
    folder: Path, name: str, version: str, metadata: Mapping[str, Any], *, precision: Choice = "float32"
) -> Classifier:
    """Return the classifier in a folder of the store, once it has given the answers that it gave in training.

    Args:
        folder: The model's folder.
        metadata: Its metadata in the store.
        precision: Precision of the weights, if the model takes it.

    Raises:
        ModelNotLoadedError: A file is missing or damaged, or the golden check fails.
    """
    stored = bundle.read(folder, f"{name}:{version}", metadata, precision=precision)
    return Classifier(name, version, metadata, *stored)

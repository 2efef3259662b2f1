"""A classifier as it lies in the model store: TorchScript, class names, drift reference, golden answers."""

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from drift import Reference
from serving.batches import Prepare
from serving.digits import to_mnist
from serving.errors import ModelNotLoadedError
from serving.images import Pixels

logger = logging.getLogger("bentoml.driftbento")  # BentoML shows what its own loggers say

# Another build of torch or another processor rounds differently, by about 1e-5 of the largest value. A wrong
# or damaged model is off by whole units.
GOLDEN_TOLERANCE = 1e-3
CHUNK = 256  # images in one forward pass; more are no faster and only take memory


def prepare_digit(image: Image.Image) -> Pixels:
    return to_mnist(image)[np.newaxis]  # (1, 28, 28)


PREPARATIONS: Mapping[str, Prepare] = {"digits": prepare_digit}


@dataclass(frozen=True)
class Classifier:
    """A model that is loaded and answers as it did when it was trained.

    Attributes:
        name: Name in the model store.
        version: Version in the model store.
        metadata: What training recorded.
        labels: Class names, in the order of the logits.
        reference: What drift is measured against, where there is one.
        script: Takes uint8 (B, C, H, W), returns logits (B, K) and features (B, D), float32.
        prepare: Makes a picture into one row of that input.
    """

    name: str
    version: str
    metadata: Mapping[str, Any]
    labels: Sequence[str]
    reference: Reference | None
    script: torch.jit.ScriptModule
    prepare: Prepare

    @property
    def tag(self) -> str:
        return f"{self.name}:{self.version}"

    def predict(self, inputs: Sequence[Pixels]) -> tuple[Tensor, Tensor]:
        """Return softmax probabilities (N, K) and features (N, D) of N prepared pictures."""
        logits, features = forward(self.script, torch.from_numpy(np.stack(inputs)))
        return logits.softmax(dim=1), features


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


def load_classifier(folder: Path, name: str, version: str, metadata: Mapping[str, Any]) -> Classifier:
    """Load a model from its folder in the store, and make sure that it answers as it did in training.

    Args:
        folder: The model's folder.
        name: Its name in the store.
        version: Its version in the store.
        metadata: What the store says of it.

    Raises:
        ModelNotLoadedError: A file is missing or damaged, or the golden check fails.
    """
    try:
        with warnings.catch_warnings():
            # TorchScript is what this project ships: one file that runs without the code that made it.
            warnings.filterwarnings("ignore", message=r".*torch\.jit\.load.* is deprecated")
            script = torch.jit.load(str(folder / "model.pt"), map_location="cpu").eval()
        golden = load_file(folder / "golden.safetensors")
        check_golden(script, golden)
        labels = json.loads((folder / "labels.json").read_text())
        reference_file = folder / "reference.safetensors"
        reference = Reference.load(reference_file) if reference_file.exists() else None
        check_fit(golden, labels, reference)
        return Classifier(
            name, version, metadata, labels, reference, script, PREPARATIONS[metadata["preprocessing"]]
        )
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


def check_golden(script: torch.jit.ScriptModule, golden: Mapping[str, Tensor]) -> None:
    """Compare a model's answers with those that training saw.

    Raises:
        ModelNotLoadedError: They differ by more than rounding.
    """
    logits, features = forward(script, golden["images"])
    shapes = logits.shape, features.shape
    expected_shapes = golden["logits"].shape, golden["features"].shape
    if shapes != expected_shapes or not len(logits):
        raise ModelNotLoadedError(f"The model's answers have the shapes {shapes}, not {expected_shapes}.")
    differences = [
        ((answer - expected).abs().max() / expected.abs().max().clamp(min=1)).item()
        for answer, expected in ((logits, golden["logits"]), (features, golden["features"]))
    ]
    if not all(difference <= GOLDEN_TOLERANCE for difference in differences):  # so that NaN fails too
        raise ModelNotLoadedError(
            f"The model does not give the answers that it gave in training: logits and features are off by "
            f"{differences[0]:.2g} and {differences[1]:.2g} of the largest, {GOLDEN_TOLERANCE:g} is allowed. "
            "Train it again with this version of torch."
        )


@torch.inference_mode()
def forward(script: torch.jit.ScriptModule, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Run a model on any number of inputs, a chunk at a time."""
    outputs: list[tuple[Tensor, Tensor]] = [script(chunk) for chunk in inputs.split(CHUNK)]
    return torch.cat([logits for logits, _ in outputs]), torch.cat([features for _, features in outputs])

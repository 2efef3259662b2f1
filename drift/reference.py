"""The reference: the in-distribution sample that every batch is compared with."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from drift.errors import DriftError, FeatureShapeError, InvalidReferenceError, NonFiniteFeaturesError

FORMAT = "driftbento-reference"
FORMAT_VERSION = 1
TENSORS = ("features", "probabilities", "lengthscale")


@dataclass(frozen=True)
class Reference:
    """A held-out sample as the model sees it.

    Attributes:
        features: Penultimate-layer features, shape (n, d), float32.
        probabilities: Softmax outputs for the same samples, shape (n, K), float32.
        lengthscale: Kernel lengthscale, in the unit of the features.
    """

    features: Tensor
    probabilities: Tensor
    lengthscale: float

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) < 2 or len(self.probabilities) != len(self.features):
            raise FeatureShapeError(
                f"A reference is (n, d) features and (n, K) probabilities with n at least 2; these are "
                f"{tuple(self.features.shape)} and {tuple(self.probabilities.shape)}."
            )
        if not (self.features.isfinite().all() and self.probabilities.isfinite().all()):
            raise NonFiniteFeaturesError("A reference cannot hold NaN or infinite values.")
        if not 0 < self.lengthscale < math.inf:
            raise FeatureShapeError(
                f"The lengthscale is {self.lengthscale}; it must be positive. Perhaps more than half of "
                "the sample for it is one and the same point: take samples that differ."
            )

    def __len__(self) -> int:
        return len(self.features)

    @classmethod
    def fit(cls, features: Tensor, probabilities: Tensor, *, lengthscale_sample: Tensor) -> "Reference":
        """Return the reference for a held-out sample.

        Args:
            features: Held-out features, shape (n, d), n at least 2.
            probabilities: Softmax outputs for the same samples, shape (n, K).
            lengthscale_sample: Features of other samples, shape (k, d), k at least 2, whose median distance
                becomes the lengthscale. They must not be among `features`: a lengthscale taken from one of
                the two samples under test would make them distinguishable, and the p-value wrong.

        Raises:
            FeatureShapeError: The three do not fit together.
            NonFiniteFeaturesError: A value is NaN or infinite.

        Source:
            Median heuristic: Garreau, Jitkrittum, Kanagawa, Large sample analysis of the median heuristic
            (2017).
        """
        if lengthscale_sample.ndim != 2 or lengthscale_sample.shape[1:] != features.shape[1:]:
            raise FeatureShapeError(
                f"The lengthscale sample is {tuple(lengthscale_sample.shape)}, not (k, {features.shape[-1]})."
            )
        if not lengthscale_sample.isfinite().all():
            raise NonFiniteFeaturesError("A lengthscale sample cannot hold NaN or infinite values.")
        lengthscale = torch.pdist(lengthscale_sample.double()).median().item()
        return cls(features.float().contiguous(), probabilities.float().contiguous(), lengthscale)

    def save(self, path: Path) -> None:
        """Write the reference to a safetensors file, whole or not at all."""
        tensors = {
            "features": self.features,
            "probabilities": self.probabilities,
            "lengthscale": torch.tensor(self.lengthscale, dtype=torch.float64),
        }
        beside = path.with_name(path.name + ".partial")
        save_file(tensors, beside, metadata={FORMAT: json.dumps({"version": FORMAT_VERSION})})
        os.replace(beside, path)

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Read a reference that `save` wrote.

        Raises:
            InvalidReferenceError: The file is damaged, is something else, or comes from a newer version.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {}).get(FORMAT, "{}"))
                if header.get("version") != FORMAT_VERSION:
                    raise InvalidReferenceError(
                        f"{path} is no drift reference of format version {FORMAT_VERSION}: fit it again."
                    )
                tensors = {name: file.get_tensor(name) for name in TENSORS}
            return cls(tensors["features"], tensors["probabilities"], tensors["lengthscale"].item())
        except InvalidReferenceError:
            raise
        except (SafetensorError, json.JSONDecodeError, DriftError) as error:
            raise InvalidReferenceError(f"{path} is damaged or no drift reference: {error}") from error

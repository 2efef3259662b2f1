"""The pictures of the study: reference and batch in two dimensions, as detectors and reductions see them."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from drift.progress import followed
from study.conditions import BLUR, Condition
from study.figures import Panel
from study.measure import DETECTORS, Split
from study.reductions import Quality, embed, quality, two_sample_p_value

SHOWN_OF_REFERENCE = 300  # more points hide each other, and slow the reductions down
OF_SOFTMAX = ("KS", "label shift", "TorchDrift KS")  # detectors that look at softmax outputs
SMALLEST = 1e-12  # smaller softmax outputs count as this, since zero has no logarithm


def shown_condition(conditions: Sequence[Condition]) -> int:
    """Return the index of the condition that is shown: blur of the second strength, slight but visible."""
    blurs = [place for place, condition in enumerate(conditions) if condition.family == BLUR]
    return blurs[min(1, len(blurs) - 1)]


class Plane:
    """Reference and batch of one condition and run, and their embeddings by name of reduction."""

    def __init__(self, split: Split, place: int, m: int, seed: int) -> None:
        self.reference = split.reference.take(
            torch.arange(min(SHOWN_OF_REFERENCE, len(split.reference.features)))
        )
        self.batch = split.batches[place].take(torch.arange(min(m, len(split.batches[place].features))))
        self.seed = seed
        self.is_batch = torch.arange(len(self.reference.features) + len(self.batch.features)) >= len(
            self.reference.features
        )

    @property
    def features(self) -> Tensor:
        """Features of both, shape (N, d)."""
        return torch.cat([self.reference.features, self.batch.features])

    @property
    def probabilities(self) -> Tensor:
        """Softmax outputs of both, shape (N, K)."""
        return torch.cat([self.reference.probabilities, self.batch.probabilities])


def reduction_panels(
    plane: Plane, names: Sequence[str], *, progress: bool
) -> tuple[list[Panel], dict[str, Quality]]:
    """Return a panel for each reduction, with the p-value of a test in that plane; and how good each is."""
    panels, qualities = list[Panel](), dict[str, Quality]()
    for name in followed(names, "reductions", len(names), progress=progress):
        embedded = embed(name, plane.features, plane.seed)
        qualities[name] = quality(plane.features, embedded, plane.is_batch)
        p_value = two_sample_p_value(embedded, plane.is_batch, plane.seed)
        panels.append(Panel(name, embedded, plane.is_batch, p_value))
    return panels, qualities


def detector_panels(plane: Plane, tests: pd.DataFrame, condition: str, reduction: str) -> list[Panel]:
    """Return a panel for each detector: what it looks at in two dimensions, and the p-value of the first run.

    Args:
        plane: Reference and batch.
        tests: The result of `measure`.
        condition: The name of the condition.
        reduction: Name of the reduction of the features. Of softmax outputs, which lie in corners, PCA of
            their logarithms is shown.
    """
    first = tests[(tests["condition"] == condition) & (tests["run"] == 0)]
    largest = first[first["m"] == first["m"].max()].set_index("detector")["p_value"]
    embedded: Mapping[bool, Tensor] = {
        True: embed("PCA", plane.probabilities.clamp(min=SMALLEST).log(), plane.seed),
        False: embed(reduction, plane.features, plane.seed),
    }
    return [
        Panel(name, embedded[name in OF_SOFTMAX], plane.is_batch, float(largest[name]))
        for name in DETECTORS
        if name in largest.index
    ]


def best_reduction(qualities: Mapping[str, Quality]) -> str:
    """Return the reduction with the best separation, and of equals the one with the best trustworthiness."""
    return max(qualities, key=lambda name: (qualities[name].separation, qualities[name].trustworthiness))

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
    """Reference and batch of one condition and run, as their embeddings show them."""

    def __init__(self, split: Split, place: int, m: int, seed: int) -> None:
        reference = split.reference.take(slice(SHOWN_OF_REFERENCE))
        batch = split.batches[place].take(slice(m))
        self.seed = seed
        self.features = torch.cat([reference.features, batch.features])  # (N, d)
        self.probabilities = torch.cat([reference.probabilities, batch.probabilities])  # (N, K)
        self.is_batch = torch.arange(len(self.features)) >= len(reference.features)  # (N,)


def reduction_panels(plane: Plane, names: Sequence[str]) -> tuple[list[Panel], dict[str, Quality]]:
    """Return a panel for each reduction, with the p-value of a test in that plane; and how good each is."""
    panels, qualities = list[Panel](), dict[str, Quality]()
    for name in followed(names, "reductions", len(names)):
        embedded = embed(name, plane.features, plane.seed)
        qualities[name] = quality(plane.features, embedded, plane.is_batch)
        p_value = two_sample_p_value(embedded, plane.is_batch, plane.seed)
        panels.append(Panel(name, embedded, plane.is_batch, p_value))
    return panels, qualities


def detector_panels(plane: Plane, tests: pd.DataFrame, condition: str, reduction: str) -> list[Panel]:
    """Return a panel for each detector: what it looks at in two dimensions, and the p-value of the first run.

    Features are shown by the reduction; softmax outputs, which lie in corners, by PCA of their logarithms.
    `tests` is the result of `measure`.
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

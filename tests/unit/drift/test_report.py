"""The report on a batch: batches of which no detector makes one."""

import pytest
import torch

from drift import DriftError, Reference
from drift.report import Batch, Detector, DriftTest

M, K, D = 30, 3, 4


@pytest.fixture(scope="module")
def reference() -> Reference:
    features = draw(100, D)
    return Reference.fit(
        features, features[:, :K].softmax(dim=1), lengthscale_sample=features + 1, max_batch=M
    )


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def spoilt(values: torch.Tensor, value: float) -> torch.Tensor:
    values = values.clone()
    values[0, 0] = value
    return values


def score(
    reference: Reference, detector: Detector, probabilities: torch.Tensor, features: torch.Tensor
) -> bool:
    batch = Batch([(index, str(index)) for index in range(len(features))], probabilities, features)
    return DriftTest(detector).run(reference, batch, list("abc")).is_drift


@pytest.mark.parametrize("detector", ["mmd", "ks", "label_shift"])
def test_a_batch_like_the_reference_is_no_drift(reference, detector):
    assert not score(reference, detector, draw(M, K).softmax(dim=1), draw(M, D))


@pytest.mark.parametrize("detector", ["mmd", "ks", "label_shift"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_neither_drift_nor_none(reference, detector, value):
    with pytest.raises(DriftError, match="NaN or infinite"):
        score(reference, detector, draw(M, K).softmax(dim=1), spoilt(draw(M, D), value))


@pytest.mark.parametrize("detector", ["ks", "label_shift"])
def test_softmax_outputs_that_are_not_finite_are_neither_drift_nor_none(reference, detector):
    with pytest.raises(DriftError, match="NaN or infinite"):
        score(reference, detector, spoilt(draw(M, K), float("nan")), draw(M, D))


@pytest.mark.parametrize("detector", ["ks", "label_shift"])
def test_softmax_outputs_of_another_number_of_classes_are_refused(reference, detector):
    with pytest.raises(DriftError, match=r"\(100, 3\) and \(30, 7\)"):
        score(reference, detector, draw(M, 7).softmax(dim=1), draw(M, D))


@pytest.mark.parametrize("detector", ["mmd", "ks", "label_shift"])
def test_features_of_another_width_are_refused(reference, detector):
    with pytest.raises(DriftError, match="must be"):
        score(reference, detector, draw(M, K).softmax(dim=1), draw(M, D + 1))

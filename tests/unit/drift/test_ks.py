"""The Kolmogorov-Smirnov test: equal to scipy's in every dimension, ties included."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from drift import BatchTooSmallError, FeatureShapeError, FeatureTypeError, NonFiniteFeaturesError
from drift.two_sample.ks import ks_test


def draw(size: int, width: int, seed: int, levels: int | None) -> torch.Tensor:
    values = torch.randn(size, width, generator=torch.Generator().manual_seed(seed))
    return values if levels is None else (values * levels).round() / levels


@given(
    n=st.integers(2, 200),
    m=st.integers(2, 200),
    width=st.integers(1, 6),
    seed=st.integers(0, 2**31),
    levels=st.sampled_from([None, 1, 3]),
)
@settings(max_examples=60)
def test_distances_and_p_value_are_scipys(n, m, width, seed, levels):
    """Exactly, and also where values tie, as saturated softmax outputs do."""
    reference, batch = draw(n, width, seed, levels), draw(m, width, seed + 1, levels)

    result = ks_test(reference, batch)

    theirs = [stats.ks_2samp(reference[:, i].numpy(), batch[:, i].numpy()) for i in range(width)]
    assert result.distances.tolist() == [peer.statistic for peer in theirs]
    assert result.score == max(peer.statistic for peer in theirs)
    assert result.p_value == min(1.0, width * min(peer.pvalue for peer in theirs))


def test_a_large_reference_has_the_asymptotic_p_value_of_scipy():
    reference, batch = draw(12_000, 2, 0, None), draw(100, 2, 1, None) + torch.tensor([0.0, 0.3])

    result = ks_test(reference, batch)

    theirs = stats.ks_2samp(reference[:, 1].numpy(), batch[:, 1].numpy())
    assert result.dimension == 1
    assert result.p_value == 2 * theirs.pvalue


def test_without_drift_false_alarms_are_no_more_than_alpha():
    generator = torch.Generator().manual_seed(0)
    pairs = [[torch.randn(size, 5, generator=generator).softmax(1) for size in (80, 30)] for _ in range(1000)]

    p_values = [ks_test(reference, batch).p_value for reference, batch in pairs]

    alarms = int(np.sum(np.array(p_values) <= 0.05))
    assert alarms <= stats.binom.interval(0.999, 1000, 0.05)[1]


def test_the_dimension_that_moved_is_named():
    batch = draw(50, 4, 1, None)
    batch[:, 2] += 2

    result = ks_test(draw(100, 4, 0, None), batch)

    assert result.dimension == 2
    assert result.p_value < 1e-6


def test_constant_samples_are_no_drift():
    assert ks_test(torch.ones(10, 3), torch.ones(5, 3)).p_value == 1


@pytest.mark.parametrize(
    ("reference", "batch", "error"),
    [
        pytest.param(torch.ones(9, 2), torch.ones(0, 2), BatchTooSmallError, id="empty"),
        pytest.param(torch.ones(9, 2), torch.ones(1, 2), BatchTooSmallError, id="one sample"),
        pytest.param(torch.ones(9, 2), torch.ones(9, 3), FeatureShapeError, id="widths differ"),
        pytest.param(torch.ones(9, 0), torch.ones(9, 0), FeatureShapeError, id="no dimension"),
        pytest.param(torch.ones(9), torch.ones(9), FeatureShapeError, id="vectors"),
        pytest.param(torch.ones(9, 2), torch.ones(9, 2).long(), FeatureTypeError, id="integers"),
        pytest.param(torch.ones(9, 2), torch.full((9, 2), math.nan), NonFiniteFeaturesError, id="NaN"),
    ],
)
def test_samples_that_cannot_be_compared_are_an_error(reference, batch, error):
    with pytest.raises(error):
        ks_test(reference, batch)

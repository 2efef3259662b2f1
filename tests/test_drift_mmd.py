"""The two-sample test: its statistic against TorchDrift's, its p-value against theory, its refusals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchdrift.detectors import kernel_mmd
from torchdrift.detectors.mmd import GaussianKernel

from drift import (
    BatchTooSmallError,
    DriftError,
    FeatureShapeError,
    NonFiniteFeaturesError,
    Reference,
    UnreachableAlphaError,
    mmd_permutation_test,
    witness,
)
from drift.mmd import mmd_of_labellings

WIDTH = 5


def sample(size: int, seed: int, *, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(size, WIDTH, generator=torch.Generator().manual_seed(seed)) + shift


def fitted(size: int, seed: int = 0) -> Reference:
    features = sample(size, seed)
    return Reference.fit(features, features.softmax(1), lengthscale_sample=sample(100, seed + 10_000))


@given(n=st.integers(2, 60), m=st.integers(2, 60), seed=st.integers(0, 2**31))
def test_the_score_is_torchdrifts_without_its_diagonal(n, m, seed):
    """TorchDrift keeps the kernel's diagonal of ones, which adds 1/(n-1) + 1/(m-1)."""
    reference, batch = fitted(n, seed), sample(m, seed + 1, shift=0.5)

    ours = mmd_permutation_test(reference, batch, n_permutations=19).score

    kernel = GaussianKernel(reference.lengthscale)
    theirs = kernel_mmd(reference.features.double(), batch.double(), n_perm=None, kernel=kernel).item()
    assert ours + 1 / (n - 1) + 1 / (m - 1) == pytest.approx(theirs, abs=1e-6)


@given(n=st.integers(2, 20), m=st.integers(2, 20), seed=st.integers(0, 2**31))
def test_the_score_of_a_labelling_is_that_of_the_two_samples_it_makes(n, m, seed):
    """Moving rows between the samples and only moving their labels is the same."""
    pooled = sample(n + m, seed).double()
    kernel_matrix = torch.exp(-torch.cdist(pooled, pooled)).fill_diagonal_(0)
    order = torch.randperm(n + m, generator=torch.Generator().manual_seed(seed))
    is_batch = torch.zeros(n + m, 1, dtype=torch.float64)
    is_batch[order[n:]] = 1

    score = mmd_of_labellings(kernel_matrix, is_batch, n, m).item()

    moved = kernel_matrix[order][:, order]
    by_blocks = (
        moved[:n, :n].sum() / (n * (n - 1))
        + moved[n:, n:].sum() / (m * (m - 1))
        - 2 * moved[:n, n:].sum() / (n * m)
    ).item()
    assert score == pytest.approx(by_blocks, abs=1e-12)


@pytest.mark.parametrize("m", [2, 10, 100], ids="m={}".format)
def test_scores_of_small_and_large_batches_can_be_compared(m):
    """The statistic is unbiased: under no drift its mean is zero at every batch size."""
    scores = torch.tensor(
        [
            mmd_permutation_test(fitted(100, seed), sample(m, seed + 500), n_permutations=19).score
            for seed in range(300)
        ]
    )

    standard_error = scores.std() / math.sqrt(len(scores))
    assert abs(scores.mean()) < 3.3 * standard_error  # 99.9 %


def test_without_drift_p_values_are_uniform():
    """A test at level alpha raises false alarms at rate alpha: no more, and no fewer."""
    p_values = [
        mmd_permutation_test(
            fitted(60, seed), sample(20, seed + 50_000), n_permutations=99, seed=seed
        ).p_value
        for seed in range(1000)
    ]

    for alpha in (0.01, 0.05, 0.5):
        rejected = sum(p <= alpha for p in p_values)
        low, high = stats.binom.interval(0.999, len(p_values), alpha)
        assert low <= rejected <= high, f"{rejected} of {len(p_values)} rejected at {alpha}"


@pytest.mark.parametrize("m", [2, 16, 128], ids="m={}".format)
def test_a_large_shift_gives_the_smallest_p_value(m):
    result = mmd_permutation_test(fitted(500), sample(m, 1, shift=10.0), n_permutations=999)

    assert result.p_value == 1 / 1000
    assert result.is_drift(0.001)


def test_p_is_one_when_every_feature_is_the_same():
    """All scores tie, so every permutation reaches the observed one."""
    features = torch.ones(50, WIDTH)
    reference = Reference.fit(features, features.softmax(1), lengthscale_sample=sample(10, 0))

    assert mmd_permutation_test(reference, torch.ones(10, WIDTH)).p_value == 1


@given(batch=st.integers(0, 2**31), m=st.integers(2, 30), scale=st.sampled_from([0.0, 1e-30, 1.0, 1e30]))
@settings(max_examples=50)
def test_p_is_never_zero_and_never_above_one(batch, m, scale):
    result = mmd_permutation_test(fitted(30), sample(m, batch) * scale, n_permutations=19)

    assert 1 / 20 <= result.p_value <= 1
    assert math.isfinite(result.score)


@pytest.mark.parametrize("n_permutations", [1, 999, 1000, 1001, 2500])
def test_every_permutation_that_is_asked_for_is_drawn(n_permutations):
    """A far batch is reached by none of them, a batch that is the reference's copy by nearly all."""
    reference = fitted(30)

    far = mmd_permutation_test(reference, sample(5, 1, shift=50.0), n_permutations=n_permutations)
    copy = mmd_permutation_test(reference, reference.features, n_permutations=n_permutations)

    assert far.p_value == 1 / (1 + n_permutations)
    assert copy.p_value > 0.99


def test_the_same_batch_gets_the_same_answer():
    reference, batch = fitted(100), sample(20, 1)

    assert mmd_permutation_test(reference, batch) == mmd_permutation_test(reference, batch)


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        pytest.param(torch.zeros(0, WIDTH), BatchTooSmallError, id="empty"),
        pytest.param(torch.zeros(1, WIDTH), BatchTooSmallError, id="one sample"),
        pytest.param(torch.zeros(10, WIDTH + 1), FeatureShapeError, id="too wide"),
        pytest.param(torch.zeros(WIDTH), FeatureShapeError, id="a vector"),
        pytest.param(torch.full((10, WIDTH), math.nan), NonFiniteFeaturesError, id="NaN"),
        pytest.param(torch.full((10, WIDTH), math.inf), NonFiniteFeaturesError, id="infinity"),
    ],
)
@pytest.mark.parametrize("function", [mmd_permutation_test, witness], ids=["test", "witness"])
def test_a_batch_that_cannot_be_tested_is_an_error(function, batch, error):
    """Never an alarm, and never a pass."""
    with pytest.raises(error) as raised:
        function(fitted(10), batch)

    assert isinstance(raised.value, DriftError)


@pytest.mark.parametrize("n_permutations", [0, -1])
def test_a_test_without_permutations_is_an_error(n_permutations):
    with pytest.raises(ValueError, match="at least one permutation"):
        mmd_permutation_test(fitted(10), sample(10, 1), n_permutations=n_permutations)


def test_one_nan_among_many_features_is_an_error():
    batch = sample(100, 1)
    batch[57, 3] = math.nan

    with pytest.raises(NonFiniteFeaturesError):
        mmd_permutation_test(fitted(10), batch)


@pytest.mark.parametrize(("alpha", "enough"), [(0.001, "999"), (0.0003, "3333"), (5e-324, r"\d+")])
def test_an_alpha_out_of_reach_is_an_error_that_says_how_many_permutations_it_takes(alpha, enough):
    result = mmd_permutation_test(fitted(10), sample(10, 1), n_permutations=99)

    with pytest.raises(UnreachableAlphaError, match=f"at least {enough} permutations"):
        result.is_drift(alpha)


def test_the_witness_points_at_the_samples_that_are_new():
    """Five of twenty samples are far from the reference, and near each other."""
    batch = torch.cat([sample(15, 1), sample(5, 2) * 0.1 + 4])

    driving = witness(fitted(500), batch).topk(5).indices

    assert set(driving.tolist()) == {15, 16, 17, 18, 19}

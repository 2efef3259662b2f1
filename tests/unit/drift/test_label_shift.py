"""The test of predicted classes: its statistic against scipy's, its p-value against theory."""

import tracemalloc

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from drift import BatchTooSmallError, FeatureShapeError, FeatureTypeError
from drift.two_sample.label_shift import label_shift_test


def classes(shares: list[float], size: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(torch.tensor(shares), size, replacement=True, generator=generator)


@given(
    n=st.integers(2, 300),
    m=st.integers(2, 300),
    shares=st.lists(st.floats(0.05, 1), min_size=2, max_size=6),
    seed=st.integers(0, 2**31),
)
def test_the_score_is_pearsons_and_the_residuals_make_it_up(n, m, shares, seed):
    reference, batch = classes(shares, n, seed), classes(shares, m, seed + 1)
    table = torch.stack([torch.bincount(x, minlength=len(shares)) for x in (reference, batch)]).numpy()
    assume((table.sum(axis=0) > 0).all())

    result = label_shift_test(reference, batch, n_classes=len(shares), n_permutations=19)

    theirs = stats.chi2_contingency(table, correction=False)
    assert result.score == pytest.approx(theirs.statistic, abs=1e-9)
    assert result.expected.tolist() == pytest.approx(theirs.expected_freq[1].tolist())
    assert result.observed.tolist() == table[1].tolist()


def test_the_p_value_of_large_samples_is_near_the_asymptotic_one():
    shares = [0.2, 0.3, 0.5]
    reference, batch = classes(shares, 5000, 0), classes([0.22, 0.3, 0.48], 1000, 1)

    result = label_shift_test(reference, batch, n_classes=3, n_permutations=9999)

    assert result.p_value == pytest.approx(stats.chi2.sf(result.score, 2), abs=0.02)


def test_of_many_tables_of_many_classes_few_are_held_at_a_time():
    shares = [1 / 1000] * 1000
    tracemalloc.start()

    label_shift_test(classes(shares, 500, 0), classes(shares, 500, 1), n_classes=1000, n_permutations=2000)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000  # of 32 million bytes for all of them


def test_a_test_that_nobody_waits_for_ends_before_all_tables_are_drawn():
    class StoppedError(Exception):
        pass

    def stop() -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        label_shift_test(classes([0.5, 0.5], 50, 0), classes([0.5, 0.5], 50, 1), n_classes=2, checkpoint=stop)


@pytest.mark.parametrize("m", [3, 20, 200], ids="m={}".format)
def test_without_shift_false_alarms_come_at_rate_alpha_or_less(m):
    """Few samples give few different tables, so that the rate can only be less."""
    shares = [0.5, 0.3, 0.15, 0.05]

    pairs = [(classes(shares, 100, seed), classes(shares, m, seed + 9999)) for seed in range(1000)]

    p_values = [
        label_shift_test(reference, batch, n_classes=4, n_permutations=99, seed=seed).p_value
        for seed, (reference, batch) in enumerate(pairs)
    ]

    low, high = stats.binom.interval(0.999, 1000, 0.05)
    alarms = sum(p <= 0.05 for p in p_values)
    assert alarms <= high
    assert m < 200 or alarms >= low


def test_a_class_that_is_gone_is_found_and_has_the_largest_residual():
    reference = classes([0.1] * 10, 1000, 0)
    batch = classes([0.1] * 10, 400, 1)

    result = label_shift_test(reference, batch[batch != 7], n_classes=10)

    assert result.p_value == 1 / 1000
    assert result.residuals.abs().argmax() == 7
    assert result.residuals[7] < -4


def test_one_class_alone_is_no_shift():
    result = label_shift_test(torch.zeros(9).long(), torch.zeros(5).long(), n_classes=3)

    assert (result.score, result.p_value) == (0, 1)
    assert result.residuals.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        pytest.param(torch.zeros(0).long(), BatchTooSmallError, id="empty"),
        pytest.param(torch.zeros(1).long(), BatchTooSmallError, id="one sample"),
        pytest.param(torch.tensor([0, 3]), FeatureShapeError, id="no such class"),
        pytest.param(torch.tensor([0, -1]), FeatureShapeError, id="negative"),
        pytest.param(torch.zeros(5, 1).long(), FeatureShapeError, id="a matrix"),
        pytest.param(torch.zeros(5), FeatureTypeError, id="not integers"),
    ],
)
def test_what_are_no_predicted_classes_is_an_error(batch, error):
    with pytest.raises(error):
        label_shift_test(torch.tensor([0, 1, 2]), batch, n_classes=3)


def test_a_test_without_permutations_is_an_error():
    with pytest.raises(ValueError, match="at least one permutation"):
        label_shift_test(torch.tensor([0, 1]), torch.tensor([0, 1]), n_classes=2, n_permutations=0)

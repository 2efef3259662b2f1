"""The certificate: measured by the very test that is deployed, on samples in no other use."""

import importlib
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from drift import (
    BatchTooSmallError,
    FeatureShapeError,
    NonFiniteFeaturesError,
    Reference,
    UnreachableAlphaError,
    certify,
    mmd_permutation_test,
)
from drift.certificate import AlarmRate
from drift.certify import SIGMAS, draw_batches, pooled_p_values


def draw(size: int, seed: int) -> Tensor:
    return torch.randn(size, 4, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.fit(draw(150, 0), lengthscale_sample=draw(100, 1), max_batch=80, n_permutations=199)


@pytest.mark.parametrize("kernel", ["aggregate", "rational_quadratic"])
@pytest.mark.parametrize("m", [2, 13, 80])
def test_p_values_from_a_pool_are_those_of_the_test_itself(reference, kernel, m):
    pool = draw(1030, 2) * 1.1  # more than are worked on at a time
    batches = draw_batches(len(pool), m, 12, seed=3)

    p_values = pooled_p_values(reference, pool, batches, kernel=kernel)

    expected = [mmd_permutation_test(reference, pool[rows], kernel=kernel).p_value for rows in batches]
    assert p_values.tolist() == pytest.approx(expected, abs=1e-7)
    assert len(set(expected)) > 4


def test_how_many_threads_torch_uses_stays_as_it_was(reference):
    before = torch.get_num_threads()

    pooled_p_values(reference, draw(40, 2), draw_batches(40, 5, 3, seed=0), kernel="gaussian")

    assert torch.get_num_threads() == before


def test_no_batch_holds_a_sample_twice_and_no_two_batches_are_alike():
    batches = draw_batches(30, 10, 50, seed=0)

    assert all(len(rows.unique()) == 10 for rows in batches)
    assert len({tuple(rows.tolist()) for rows in batches}) == 50


def test_false_alarms_are_as_rare_as_alpha_says(reference):
    certificate = certify(reference, draw(3000, 2), kernel="gaussian", sizes=[16], n_batches=1000)

    at_5, at_1 = certificate.false_alarms
    assert (at_5.m, at_5.alpha, at_1.m, at_1.alpha) == (16, 0.05, 16, 0.01)
    # The rate of one reference is near alpha, and not alpha itself.
    assert 0.025 < at_5.alarms.rate < 0.075
    assert at_1.alarms.rate < 0.03
    assert certificate.blurs == ()


def test_a_reference_of_another_distribution_is_not_certified_to_be_quiet(reference):
    certificate = certify(reference, draw(400, 2) + 1, kernel="gaussian", sizes=[64], n_batches=100)

    assert certificate.false_alarms[0].alarms.rate == 1


def test_the_smallest_blur_is_the_first_that_is_found_at_80_percent(reference):
    """Blur by sigma stands for a shift by half of it here, so that its power can be computed otherwise."""
    held_out = draw(1000, 2)

    certificate = certify(
        reference,
        held_out,
        blur=lambda sigma: held_out + sigma / 2,
        kernel="gaussian",
        sizes=[8, 64],
        n_batches=200,
    )

    small, large = certificate.blurs
    assert (small.m, large.m) == (8, 64)
    assert small.sigma is not None
    assert large.sigma is not None
    assert small.sigma > large.sigma
    for found in (small, large):
        batches = draw_batches(1000, found.m, 200, seed=9)
        before = SIGMAS[SIGMAS.index(found.sigma) - 1]
        at, below = (
            (pooled_p_values(reference, held_out + sigma / 2, batches, kernel="gaussian") <= 0.05)
            .float()
            .mean()
            for sigma in (found.sigma, before)
        )
        assert at > 0.75
        assert below < 0.85
        assert found.alarms.rate >= 0.8


def test_a_blur_that_is_never_found_is_said_to_be_none(reference):
    held_out = draw(200, 2)

    (blur,) = certify(
        reference, held_out, blur=lambda _: held_out, kernel="gaussian", sizes=[16], n_batches=50
    ).blurs

    assert blur.sigma is None
    assert blur.alarms.rate < 0.3


def test_sizes_that_would_take_most_of_the_held_out_samples_are_left_out(reference):
    certificate = certify(reference, draw(60, 2), kernel="gaussian", n_batches=20)

    assert {one.m for one in certificate.false_alarms} == {16}
    assert certificate.n_held_out == 60


def test_significance_levels_that_can_never_be_reached_are_not_certified():
    few = Reference.fit(draw(50, 0), lengthscale_sample=draw(50, 1), max_batch=20, n_permutations=49)

    certificate = certify(few, draw(60, 2), n_batches=20)

    assert {one.alpha for one in certificate.false_alarms} == {0.05}


def test_a_reference_that_can_never_raise_an_alarm_is_not_certified():
    few = Reference.fit(draw(50, 0), lengthscale_sample=draw(50, 1), max_batch=20, n_permutations=9)

    with pytest.raises(UnreachableAlphaError):
        certify(few, draw(60, 2), n_batches=20)


def test_blur_is_looked_for_in_fewer_batches_than_false_alarms(reference):
    held_out = draw(100, 2)

    certificate = certify(
        reference, held_out, blur=lambda _: held_out + 9, kernel="gaussian", sizes=[16], n_batches=250
    )

    (blur,) = certificate.blurs
    assert (certificate.n_batches, certificate.n_blurred_batches) == (250, 200)
    assert blur.alarms == AlarmRate.of(200, 200)


@pytest.mark.parametrize(
    ("held_out", "error", "message"),
    [
        (draw(31, 2), BatchTooSmallError, "takes 32 held-out samples"),
        (draw(100, 2)[:, :3], FeatureShapeError, "must be"),
        (draw(100, 2) * float("nan"), NonFiniteFeaturesError, "NaN"),
    ],
    ids=["few", "narrow", "nan"],
)
def test_samples_that_show_nothing_are_refused(reference, held_out, error, message):
    with pytest.raises(error, match=message):
        certify(reference, held_out, n_batches=20)


def test_the_interval_is_wilsons():
    rate = AlarmRate.of(3, 50)

    z, share = stats.norm.ppf(0.975), 3 / 50
    centre = (share + z**2 / 100) / (1 + z**2 / 50)
    half = z / (1 + z**2 / 50) * (share * (1 - share) / 50 + z**2 / 10_000) ** 0.5
    assert rate.rate == share
    assert (rate.low, rate.high) == pytest.approx((centre - half, centre + half))


def test_the_certificate_is_kept_with_the_reference(reference, tmp_path):
    held_out = draw(100, 2)
    certificate = certify(
        reference, held_out, blur=lambda sigma: held_out + sigma, kernel="gaussian", sizes=[16], n_batches=20
    )

    replace(reference, certificate=certificate).save(tmp_path / "reference.safetensors")

    assert Reference.load(tmp_path / "reference.safetensors").certificate == certificate


@pytest.mark.parametrize("most_pairs", [0, 10_000_000], ids=["not-listed", "listed"])
def test_p_values_are_the_same_whether_pairs_of_samples_are_listed_or_not(reference, monkeypatch, most_pairs):
    module = importlib.import_module("drift.certify")  # in the package, the function has its name
    monkeypatch.setattr(module, "MOST_PAIRS", most_pairs)
    pool = draw(100, 2)
    batches = draw_batches(len(pool), 40, 20, seed=3)

    p_values = pooled_p_values(reference, pool, batches, kernel="aggregate")

    expected = [mmd_permutation_test(reference, pool[rows]).p_value for rows in batches]
    assert p_values.tolist() == pytest.approx(expected, abs=1e-7)

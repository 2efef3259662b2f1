"""Fitting: how samples are dealt out, above all where some are the same, and what is said of too few."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from drift import UnreadableSamplesError, fitting
from drift.certify import draw_batches, pooled_p_values
from drift.fitting import Recipe, fit_certified
from drift.samples import Samples

QUICK = Recipe(kernels=["gaussian"], max_batch=256, n_permutations=199, n_batches=100)


def samples_of(features: Tensor) -> Samples:
    return Samples([f"{index}.png" for index in range(len(features))], features, None)


def noise(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 8, generator=generator)


def with_black_frames(n: int, generator: torch.Generator) -> Tensor:
    """Every fifth picture, on average, is the same."""
    features = noise(n, generator)
    return torch.where(torch.rand(n, 1, generator=generator) < 0.2, torch.zeros(8), features)


def one_hot(n: int, generator: torch.Generator) -> Tensor:
    """Ten different vectors, and no other."""
    return torch.eye(10)[torch.randint(10, (n,), generator=generator)]


@pytest.mark.parametrize("draw", [noise, with_black_frames, one_hot], ids=lambda draw: draw.__name__)
def test_samples_that_come_again_and_again_raise_no_more_false_alarms(
    draw: Callable[[int, torch.Generator], Tensor],
):
    """On new batches, and on the certificate's: a test at 0.05 that counts more than a tenth is none."""
    alarms, certified = [], []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        reference = fit_certified(samples_of(draw(1000, generator)), QUICK)
        batches = draw_batches(4000, 256, 100, seed)
        alarms.append(pooled_p_values(reference, draw(4000, generator), batches, kernel="gaussian") <= 0.05)
        certified += [one.alarms.rate for one in reference.certificate.false_alarms if one.alpha == 0.05]

    assert torch.cat(alarms).float().mean() < 0.1
    assert sum(certified) / len(certified) < 0.1


def test_many_copies_are_in_every_part_as_often_as_among_the_samples():
    features = with_black_frames(1000, torch.Generator().manual_seed(0))
    share = (features == 0).all(dim=1).float().mean().item()

    parts = fitting.split_samples(features, Recipe())

    assert torch.cat(parts).sort().values.equal(torch.arange(1000))
    for part in parts:
        black = (features[part] == 0).all(dim=1).float().mean().item()
        assert black == pytest.approx(share, abs=4 * (0.16 / len(part)) ** 0.5)


@pytest.mark.parametrize("copies", [2, 5])
def test_a_certificate_does_not_hide_what_a_few_copies_of_each_sample_do(copies):
    """The reference is worth no more than its different samples; the certificate must show what that does."""
    features = noise(1000 // copies, torch.Generator().manual_seed(0)).repeat_interleave(copies, dim=0)

    _, certificate, rest = fitting.split_samples(features, Recipe())

    assert not set(map(tuple, features[certificate].tolist())) & set(map(tuple, features[rest].tolist()))


def test_samples_that_are_nearly_all_the_same_are_refused_by_name():
    features = torch.zeros(600, 8)
    features[7] = 1

    with pytest.raises(UnreadableSamplesError, match=r"599 of the 600 samples .* 599 are 0\.png"):
        fit_certified(samples_of(features), QUICK)


@pytest.mark.parametrize(
    ("size", "recipe"),
    [
        pytest.param(50, Recipe(), id="the usual shares"),
        pytest.param(21, Recipe(certificate_share=0), id="no certificate"),
        pytest.param(600, Recipe(lengthscale_share=0.05, certificate_share=0.0501, max_batch=99), id="small"),
    ],
)
def test_too_few_samples_are_told_how_many_would_do(size, recipe):
    generator = torch.Generator().manual_seed(0)

    with pytest.raises(UnreadableSamplesError, match=f"{size} samples are too few") as raised:
        fitting.split_samples(noise(size, generator), recipe)

    (enough,) = re.findall(r"at least (\d+), or", str(raised.value))
    fitting.split_samples(noise(int(enough), generator), recipe)
    with pytest.raises(UnreadableSamplesError):
        fitting.split_samples(noise(int(enough) - 1, generator), recipe)


def test_shares_that_leave_nothing_are_said_to_be_at_fault():
    with pytest.raises(UnreadableSamplesError, match="Take smaller shares"):
        fitting.split_samples(noise(600, torch.Generator().manual_seed(0)), Recipe(certificate_share=0.95))

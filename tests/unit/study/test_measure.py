"""Measuring: who is dealt to what, which cells are measured, and what the table makes of them."""

from functools import partial

import pandas as pd
import pytest
import torch
from torch import Tensor

from study.conditions import Condition, Outputs, knock_out, shuffled, unchanged
from study.measure import DETECTORS, measure, split_samples, summarise

N, D, K = 200, 4, 3
LABELS = torch.arange(N) % 2


def outputs(size: int, shift: float, seed: int) -> Outputs:
    features = torch.randn(size, D, generator=torch.Generator().manual_seed(seed)) + shift
    return Outputs((features[:, :K] * 3).softmax(dim=1), features)


def condition(name: str, seen: Outputs, draw, level: float | None = None) -> Condition:
    images = torch.zeros(len(seen.features), 1, 2, 2, dtype=torch.uint8)
    return Condition(name, name, level, None, images, seen, draw)


@pytest.fixture(scope="module")
def conditions() -> list[Condition]:
    return [
        condition("no drift", outputs(N, 0, 0), unchanged),
        condition("moved", outputs(N, 3, 0), unchanged),
        condition("half", outputs(N, 0, 0), partial(knock_out, LABELS, 0, 1.0)),
        condition("foreign", outputs(15, 5, 1), partial(shuffled, 15)),
    ]


@pytest.fixture(scope="module")
def tests(conditions) -> pd.DataFrame:
    return measure(conditions, sizes=[10, 70], n=80, runs=3, slow_runs=1, seed=0)


def rows_of(part: Tensor, of: Tensor) -> set[int]:
    """Return which rows of a matrix another one holds."""
    return {int((of == row).all(dim=1).nonzero()) for row in part}


@pytest.mark.parametrize("run", [0, 1])
def test_no_image_is_in_two_uses_of_a_run(conditions, run):
    split = split_samples(conditions, sizes=[10, 70], n=80, run=run, seed=0)

    every = conditions[0].outputs.features
    lengthscale, reference, batch = (
        rows_of(part, every)
        for part in (split.lengthscale_sample, split.reference.features, split.batches[0].features)
    )
    moved = rows_of(split.batches[1].features, conditions[1].outputs.features)
    assert (len(lengthscale), len(reference), len(batch)) == (20, 80, 70)
    assert not lengthscale & reference
    assert not (lengthscale | reference) & (batch | moved)


def test_every_run_deals_anew_and_the_same_seed_deals_alike(conditions):
    first, again, second = (split_samples(conditions, sizes=[10], n=80, run=run, seed=0) for run in (0, 0, 1))

    assert first.reference.features.equal(again.reference.features)
    assert not first.reference.features.equal(second.reference.features)


def test_each_detector_tests_each_condition_in_each_run_and_the_slow_one_in_fewer(tests):
    counts = tests[tests["m"] == 10].groupby(["condition", "detector"]).size()

    assert set(tests["detector"]) == set(DETECTORS)
    assert set(counts[counts.index.get_level_values("detector") != "TorchDrift MMD"]) == {3}
    assert set(counts[counts.index.get_level_values("detector") == "TorchDrift MMD"]) == {1}


def test_a_size_for_which_a_condition_has_too_few_images_in_any_run_is_not_measured(tests):
    measured = set(zip(tests["condition"], tests["m"], strict=True))

    assert ("moved", 70) in measured
    assert ("foreign", 10) in measured
    assert ("foreign", 70) not in measured
    assert ("half", 70) not in measured


def test_the_table_sums_up_the_runs(tests, conditions):
    table = summarise(tests, conditions).set_index(["condition", "detector", "m"])

    moved = tests[
        (tests["condition"] == "moved") & (tests["detector"] == "MMD, gaussian") & (tests["m"] == 10)
    ]
    row = table.loc[("moved", "MMD, gaussian", 10)]
    assert row["runs"] == 3
    assert row["p_value"] == moved["p_value"].median()
    assert row["alarms"] == (moved["p_value"] <= 0.05).mean() == 1
    assert row["score"] == pytest.approx(moved["score"].mean())

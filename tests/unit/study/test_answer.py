"""The answer of the study: sentences that the numbers bear out, also where the numbers are unusual."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from study.answer import answer
from study.reductions import Quality

RUNS = 20
SLIGHT, STRONG, FOREIGN = "Gaussian blur, σ = 0.5", "Gaussian blur, σ = 3", "clothes"
FACTS = {
    "no drift": ("no drift", np.nan),
    SLIGHT: ("Gaussian blur", 0.5),
    STRONG: ("Gaussian blur", 3.0),
    FOREIGN: (FOREIGN, np.nan),
}
Power = Mapping[str, Mapping[str, tuple[float, ...]]]  # of detectors in conditions at m = 16 and 64
SEEN = {"PCA": Quality(trustworthiness=0.9, separation=0.8)}


def study(power: Power, runs: Mapping[str, int] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the table and the tests of a study with these shares of alarms."""
    tests, table = [], []
    for detector, conditions in power.items():
        count = (runs or {}).get(detector, RUNS)
        for condition, shares in conditions.items():
            family, level = FACTS[condition]
            for m, share in zip((16, 64), shares, strict=False):
                alarms = round(share * count)
                table.append((condition, family, level, detector, m, count, alarms / count))
                tests += [
                    (condition, detector, m, run, 0.01 if run < alarms else 0.5) for run in range(count)
                ]
    return (
        pd.DataFrame(table, columns=["condition", "family", "level", "detector", "m", "runs", "alarms"]),
        pd.DataFrame(tests, columns=["condition", "detector", "m", "run", "p_value"]),
    )


def text(power: Power, runs: Mapping[str, int] | None = None, seen: Mapping[str, Quality] = SEEN) -> str:
    return " ".join(answer(*study(power, runs), seen, [FOREIGN], f"{SLIGHT}, 64 images"))


GOOD = {"no drift": (0.05, 0.05), SLIGHT: (0.1, 0.9), STRONG: (1, 1), FOREIGN: (1, 1)}
POOR = {"no drift": (0.05, 0.0), SLIGHT: (0, 0), STRONG: (0.1, 0.2), FOREIGN: (0.1, 0.1)}


def test_the_detector_that_finds_most_is_named_and_the_others_follow():
    said = text({"poor": POOR, "good": GOOD})

    assert "good separates best" in said
    assert "good (83%)" in said
    assert "Then come poor in 8%" in said


def test_detectors_between_which_chance_decides_are_named_together():
    said = text({"one": GOOD, "other": GOOD, "poor": POOR})

    assert "one and other separate best" in said
    assert "between them chance decides" in said


def test_one_detector_alone_is_compared_with_nothing():
    said = text({"good": GOOD})

    assert "good separates best" in said
    assert "Then come" not in said


def test_a_detector_that_alarms_without_drift_is_not_to_be_believed():
    said = text({"good": GOOD, "shouting": dict.fromkeys(FACTS, (1, 1))})

    assert "good separates best" in said
    assert "Not to be believed" in said
    assert "shouting in 100%" in said


def test_where_no_detector_can_be_believed_nothing_is_ranked():
    said = text({"shouting": dict.fromkeys(FACTS, (1, 1))})

    assert "No detector can be ranked" in said
    assert "easier" not in said


def test_a_detector_that_was_asked_in_few_runs_is_named_and_not_ranked():
    said = text({"good": GOOD, "slow": GOOD | {SLIGHT: (1, 1)}}, runs={"slow": 3})

    assert "good separates best" in said
    assert "Not ranked, since they were asked in fewer runs: slow" in said
    assert f"slight blur ({SLIGHT}), found from m = 64 on" in said


@pytest.mark.parametrize(
    ("slight", "foreign", "said"),
    [
        ((0.1, 0.9), (1, 1), f"The easier to detect is {FOREIGN}"),
        ((1, 1), (0.1, 0.9), "The easier to detect is slight blur"),
        ((0.1, 0.1), (0.1, 0.9), f"The easier to detect is {FOREIGN}"),
        ((0.9, 1), (1, 1), f"{FOREIGN} is a little easier to detect"),
        ((1, 1), (0.9, 1), "slight blur is a little easier to detect"),
        ((1, 1), (1, 1), f"{FOREIGN} and slight blur are as easy to detect"),
        ((0, 0), (0, 0), "found at none of the sizes"),
    ],
)
def test_what_is_easier_to_detect_is_what_smaller_batches_show_or_more_runs(slight, foreign, said):
    assert said in text({"good": GOOD | {SLIGHT: slight, FOREIGN: foreign}})


def test_only_sizes_that_were_measured_for_both_are_compared():
    power = {"good": GOOD | {SLIGHT: (1, 1), FOREIGN: (0.9,)}}

    assert "found from m = 16 on, slight blur" in text(power)


def test_foreign_images_that_were_too_few_are_said_to_be_so():
    power = {"good": {name: shares for name, shares in GOOD.items() if name != FOREIGN}}

    assert f"Whether {FOREIGN} is easier to detect than blur cannot be said" in text(power)


def test_the_best_and_the_truest_reduction_are_named():
    seen = {"PCA": Quality(0.99, 0.7), "t-SNE": Quality(0.95, 0.8)}

    said = text({"good": GOOD}, seen=seen)

    assert f"t-SNE shows the drift best ({SLIGHT}, 64 images): 80% of a point's neighbours" in said
    assert "PCA is the truest to the features (trustworthiness 0.99)" in said


def test_reductions_in_which_nothing_is_to_be_seen_are_said_to_show_nothing():
    assert "No reduction shows the drift" in text({"good": GOOD}, seen={"PCA": Quality(0.99, 0.51)})

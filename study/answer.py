"""The answer of the study: sentences made from its numbers."""

from collections.abc import Mapping, Sequence

import pandas as pd
from scipy import stats

from study.conditions import BLUR, NO_DRIFT
from study.measure import ALPHA
from study.reductions import Quality, best_reduction

POWER = 0.8  # share of runs in which a condition that counts as found is found
CHANCE = 0.55  # separation up to which a plane shows nothing; chance is 0.5, give or take some hundredths


def answer(
    table: pd.DataFrame,
    tests: pd.DataFrame,
    qualities: Mapping[str, Quality],
    foreign: Sequence[str],
    shown: str,
) -> list[str]:
    """Return a paragraph each about detectors, false alarms, reductions, and foreign images against blur.

    Args:
        table: What `summarise` returned.
        tests: What `measure` returned.
        qualities: The quality of each reduction.
        foreign: Names of the sets of foreign images, the most telling first.
        shown: The condition and size that the reductions show.
    """
    trusted, false, too_few_runs = rank_by_trust(table)
    power = power_by_run(tests, trusted)
    said = [about_detectors(power)]
    if false:
        rates = ", ".join(f"{name} in {rate:.0%}" for name, rate in false.items())
        said.append(
            f"Not to be believed, since they alarm without drift more often than chance explains: {rates}."
        )
    if too_few_runs:
        said.append(f"Not ranked, since they were asked in fewer runs: {', '.join(too_few_runs)}.")
    said.append(about_reductions(qualities, shown))
    if not power.empty:
        best = str(power.mean(axis=1).idxmax())
        said += [about_foreign(table[table["detector"] == best], best, name) for name in foreign]
    return said


def rank_by_trust(table: pd.DataFrame) -> tuple[list[str], dict[str, float], list[str]]:
    """Return the detectors that can be ranked, those with too many false alarms, and the rest.

    Those with too many false alarms come with the share of their runs without drift that alarm. The rest were
    asked in fewer runs than the others, too few to rank them.
    """
    trusted, false, too_few_runs = list[str](), dict[str, float](), list[str]()
    quiet = table[table["family"] == NO_DRIFT]
    for detector, rows in quiet.groupby("detector", sort=False):
        # Smaller batches of a run are part of its larger ones, and so are no tests of their own.
        runs, rate = int(rows["runs"].max()), float(rows["alarms"].mean())
        chance = stats.binomtest(round(rate * runs), runs, ALPHA, alternative="greater").pvalue
        if chance < ALPHA / table["detector"].nunique():
            false[str(detector)] = rate
        elif runs < table["runs"].max():
            too_few_runs.append(str(detector))
        else:
            trusted.append(str(detector))
    return trusted, false, too_few_runs


def power_by_run(tests: pd.DataFrame, detectors: Sequence[str]) -> pd.DataFrame:
    """Return the share of drifted batches that each detector, a row, finds in each run, a column."""
    drifted = tests[(tests["condition"] != NO_DRIFT) & tests["detector"].isin(detectors)]
    alarms = drifted.assign(alarm=drifted["p_value"] <= ALPHA)
    return alarms.groupby(["detector", "run"], sort=False)["alarm"].mean().unstack()


def about_detectors(power: pd.DataFrame) -> str:
    if power.empty:
        return "No detector can be ranked: those that were asked in every run alarm without drift."
    means = power.mean(axis=1).sort_values(ascending=False)
    best = means.index[0]
    lead = power.loc[best] - power
    spread = lead.std(axis=1) / len(power.columns) ** 0.5
    equal = [name for name in means.index if lead.loc[name].mean() <= 2 * spread.fillna(0)[name]]
    others = ", ".join(f"{name} in {mean:.0%}" for name, mean in means.items() if name not in equal)
    finds, separates, alike = "find", "separate", "; between them chance decides"
    if len(equal) == 1:
        finds, separates, alike = "finds", "separates", ""
    together = ", ".join(f"{name} ({means[name]:.0%})" for name in equal)
    against = f" Then come {others}." if others else ""
    return (
        f"{' and '.join(equal) if len(equal) < 3 else 'Several detectors'} {separates} best: over all "
        f"conditions and sizes, {together} {finds} drift in this share of the runs{alike}.{against}"
    )


def about_reductions(qualities: Mapping[str, Quality], shown: str) -> str:
    best = best_reduction(qualities)
    truest = max(qualities, key=lambda name: qualities[name].trustworthiness)
    if qualities[best].separation <= CHANCE:
        return f"No reduction shows the drift ({shown}): neighbours are of either kind, as by chance."
    said = (
        f"{best} shows the drift best ({shown}): {qualities[best].separation:.0%} of a point's neighbours "
        f"in the plane are of its own kind, where 50% is chance"
    )
    if len(qualities) == 1:
        return f"{said}."
    return (
        f"{said}. {'It' if truest == best else truest} is the truest to the features (trustworthiness "
        f"{qualities[truest].trustworthiness:.2f})."
    )


def about_foreign(table: pd.DataFrame, detector: str, foreign: str) -> str:
    """Return whether foreign images are easier to detect than the slightest blur, by one detector's rows."""
    blurs = table[table["family"] == BLUR]
    slight = str(blurs.loc[blurs["level"].idxmin(), "condition"])
    alarms = table.pivot(index="m", columns="condition", values="alarms")
    if foreign not in alarms or alarms[[foreign, slight]].dropna().empty:
        return (
            f"Whether {foreign} is easier to detect than blur cannot be said: there are too few images of it."
        )
    both = alarms[[foreign, slight]].dropna()
    first, second = (found_from(both[name]) for name in (foreign, slight))
    by = f"by {detector}: {foreign}, {in_words(first)}, slight blur ({slight}), {in_words(second)}"
    if first == second:
        difference = float((both[foreign] - both[slight]).sum())
        if difference == 0:
            return f"{foreign} and slight blur are as easy to detect {by}."
        easier = foreign if difference > 0 else "slight blur"
        return f"{easier} is a little easier to detect {by}, but in more or fewer of the runs."
    easier = foreign if second is None or (first is not None and first < second) else "slight blur"
    return f"The easier to detect is {easier}, {by}."


def found_from(alarms: pd.Series) -> int | None:
    """Return the smallest size of batch, the index of the shares, at which a condition is found."""
    found = alarms[alarms >= POWER]
    return None if found.empty else int(found.index.min())


def in_words(m: int | None) -> str:
    return "found at none of the sizes" if m is None else f"found from m = {m} on"

"""The results of `bench.power`, as tables beside the rows of Failing Loudly, and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Column, Table
from scipy import stats

ALPHA = 0.05
DEFAULT = "aggregate"
DETECTORS: Mapping[str, str] = {
    "aggregate": "MMD, aggregate (the default)",
    "gaussian": "MMD, Gaussian",
    "ks": "KS, softmax outputs",
    "label_shift": "label shift",
}
SIZES = (10, 20, 50, 100, 200, 500, 1000)
PAPER: Mapping[str, Mapping[int, float]] = {
    "paper: BBSDs + KS": dict(zip(SIZES, (0.19, 0.28, 0.47, 0.47, 0.51, 0.65, 0.70), strict=True)),
    "paper: UAE + MMD": dict(zip(SIZES, (0.20, 0.27, 0.40, 0.43, 0.45, 0.53, 0.61), strict=True)),
}
NOT_ALIKE = (
    "The paper's rows (Rabanser et al., arXiv 1810.11953) are not measured alike: they are means over MNIST "
    "and CIFAR-10, over shifts of its own, and over 10, 50 and 100 % of the images shifted. Ours are of "
    "MNIST alone, and all images are shifted."
)
NOTHING = "–"

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class Power:
    """The tests that raised an alarm.

    Attributes:
        shifts: Names of the S shifts; the first is no shift.
        sizes: The M batch sizes.
        alarms: Shape (runs, S, M, detectors), at least 2 runs: 1 where p ≤ alpha, else 0; NaN in all runs of
            a shift and size if one of them had too few images for the batch.
    """

    shifts: Sequence[str]
    sizes: Sequence[int]
    alarms: Floats

    @classmethod
    def of(cls, shifts: Sequence[str], sizes: Sequence[int], p_values: Floats) -> "Power":
        """Return the power from p-values (runs, S, M, detectors), NaN where there were too few images."""
        missing = np.isnan(p_values).any(axis=0)
        return cls(shifts, sizes, np.where(missing, np.nan, p_values <= ALPHA))

    @property
    def runs(self) -> int:
        return len(self.alarms)

    @property
    def rates(self) -> Floats:
        """The share of runs with an alarm, shape (S, M, detectors)."""
        return self.alarms.mean(axis=0)

    @property
    def means(self) -> Floats:
        """The mean over all shifts that could be measured, shape (M, detectors)."""
        return np.nanmean(self.rates[1:], axis=0)

    @property
    def standard_errors(self) -> Floats:
        """Standard errors of the means, shape (M, detectors), over runs: one run has one reference."""
        by_run = np.nanmean(self.alarms[:, 1:], axis=1)
        return by_run.std(axis=0, ddof=1) / self.runs**0.5

    def left_out(self, column: int) -> list[str]:
        """Return the shifts that could not be measured with a batch size, given by its index."""
        rates = self.rates[1:, column, 0]
        return [name for name, rate in zip(self.shifts[1:], rates, strict=True) if np.isnan(rate)]


def show(power: Power, detector: str, console: Console) -> None:
    """Print a table of all detectors, notes on it, and a table of all shifts for one detector."""
    console.print(table_of_detectors(power))
    for note in notes(power):
        console.print(note)
    console.print(table_of_shifts(power, detector))


def table_of_detectors(power: Power) -> Table:
    """Return a table of the mean power of each detector, the paper's rows, and the differences."""
    table = empty_table(f"Mean power over all shifts, alpha {ALPHA:g}", "detector", power.sizes)
    for label, means in zip(DETECTORS.values(), power.means.T, strict=True):
        table.add_row(label, *map(rate, means))
    table.add_section()
    paper = np.array([[row.get(m, np.nan) for m in power.sizes] for row in PAPER.values()])
    for label, rates in zip(PAPER, paper, strict=True):
        table.add_row(label, *map(rate, rates))
    table.add_section()
    default = power.means[:, list(DETECTORS).index(DEFAULT)]
    for label, ours in (("best of ours", power.means.max(axis=1)), ("our default", default)):
        table.add_row(f"{label} - best of paper", *map(difference, ours - paper.max(axis=0)))
    return table


def table_of_shifts(power: Power, detector: str) -> Table:
    """Return a table of the power of one detector for each shift, and of its false alarms."""
    table = empty_table(f"{DETECTORS[detector]}, by shift", "shift", power.sizes)
    rates = power.rates[:, :, list(DETECTORS).index(detector)]
    for name, row in zip(power.shifts[1:], rates[1:], strict=True):
        table.add_row(name, *map(rate, row))
    table.add_section()
    table.add_row(power.shifts[0], *map(rate, rates[0]))
    return table


def empty_table(title: str, first: str, sizes: Sequence[int]) -> Table:
    numbers = [Column(f"m={m}", justify="right", no_wrap=True) for m in sizes]
    return Table(Column(first, no_wrap=True), *numbers, title=title, title_justify="left")


def rate(value: float) -> str:
    return NOTHING if np.isnan(value) else f"{value:.2f}"


def difference(value: float) -> str:
    return NOTHING if np.isnan(value) else f"{value:+.2f}"


def notes(power: Power) -> Iterator[str]:
    """Yield the notes that a reader of the first table needs."""
    yield NOT_ALIKE
    total = len(power.shifts) - 1
    for column, m in enumerate(power.sizes):
        left_out = power.left_out(column)
        if left_out:
            yield (
                f"m={m}: the mean is over {total - len(left_out)} of {total} shifts, and not to be compared "
                f"with that of another m. There are too few images for: {'; '.join(left_out)}."
            )
    yield (
        f"Largest standard error of a mean: {power.standard_errors.max():.2f}, for other splits of the same "
        f"digits and the same model. Of a single shift, {interval(power.runs, 0.5)} and "
        f"{interval(power.runs, ALPHA)}, with 95 % confidence."
    )
    alarms = power.rates[0].mean(axis=0)
    listed = "; ".join(f"{rate(one)} {label}" for label, one in zip(DETECTORS.values(), alarms, strict=True))
    yield f"False alarms where nothing is shifted, mean over m: {listed}."


def interval(runs: int, share: float) -> str:
    """Return the 95 % confidence interval of a rate that was found in a share of the runs, in words."""
    found = round(runs * share)
    low, high = stats.binomtest(found, runs).proportion_ci(method="wilson")
    return f"{found} of {runs} runs mean {low:.2f} to {high:.2f}"


def as_json(power: Power) -> dict[str, object]:
    """Return every rate, null where there were too few images."""
    rates = [
        {"detector": detector, "shift": shift, "m": m, "rate": None if np.isnan(found) else float(found)}
        for detector, of_detector in zip(DETECTORS, np.moveaxis(power.rates, -1, 0), strict=True)
        for shift, of_shift in zip(power.shifts, of_detector, strict=True)
        for m, found in zip(power.sizes, of_shift, strict=True)
    ]
    return {"alpha": ALPHA, "runs": power.runs, "rates": rates}

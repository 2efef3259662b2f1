"""The figures of the drift study, for colour-blind readers too, and as wide as a laptop's screen."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from drift.certificate import AlarmRate
from drift.storage import write
from study.conditions import BLUR, NO_DRIFT
from study.measure import ALPHA
from study.style import BATCH, REFERENCE, STYLE, line_style

ALPHA_LABEL = f"alpha = {ALPHA:g}"
WIDTH = 12.0  # inches, which at 100 dots an inch are 1200 pixels
DPI = 100
ROW_HEIGHT = 3.6  # inches, of one of several rows of subplots
COLUMNS = 3
LETTERS = 42  # in a line, for which a third of the width has room
DODGE = 0.08  # share of an axis by which the first and the last of lines that coincide are drawn apart
TICK_GAP = 0.12  # share of an axis that the label of a tick takes up


@dataclass(frozen=True, eq=False)
class Panel:
    """One scatter plot of a reference and a batch.

    Attributes:
        title: Name of the detector or reduction that it shows.
        embedded: Points of both samples, shape (N, 2).
        is_batch: Whether each is of the batch, shape (N,), bool.
        p_value: Of the test between the two.
    """

    title: str
    embedded: Tensor
    is_batch: Tensor
    p_value: float


def detector_figure(panels: Sequence[Panel], *, title: str) -> Figure:
    """Return a grid of scatter plots of reference and batch, each with its p-value.

    Args:
        panels: At least one; three go side by side.
        title: Of the whole figure.
    """
    with rc_context(STYLE):
        figure, axes = subplots(len(panels))
        for axis, panel in zip(axes, panels, strict=True):
            points, is_batch = panel.embedded.numpy(), panel.is_batch.numpy()
            axis.scatter(*points[~is_batch].T, **REFERENCE)
            axis.scatter(*points[is_batch].T, **BATCH)
            axis.set_title(fill(f"{panel.title}: p = {panel.p_value:.2g}", LETTERS))
            axis.set(xticks=[], yticks=[])  # the axes of an embedding have no meaning
        finish(figure, title, x="first dimension", y="second dimension")
    return figure


def power_by_strength(table: pd.DataFrame, *, family: str = BLUR) -> Figure:
    """Return how often each detector alarms at each strength of a drift, a subplot for each size of batch.

    The error bars are 95 % Wilson intervals. Lines are moved apart sideways a little, so that those that
    coincide can be seen.

    Args:
        table: A row for each condition, detector and m, with the columns `family`, `level`, `axis`,
            `detector`, `m`, `runs` and `alarms`. Without drift, the level counts as 0.
        family: The drift whose conditions are shown.

    Raises:
        ValueError: The table has no condition of this family.
    """
    rows = of_family(table, family)
    sizes, detectors = sorted(rows["m"].unique()), list(rows["detector"].unique())
    ticks = spaced(sorted(rows["level"].unique()))
    with rc_context(STYLE):
        figure, axes = subplots(len(sizes), shared=True)
        for axis, m in zip(axes, sizes, strict=True):
            draw_alarms(axis, rows[rows["m"] == m], detectors, by="level")
            axis.set_xticks(ticks, [f"{level:.3g}" for level in ticks])
            axis.set_title(f"m = {m}")
        finish(figure, f"{family}: power against strength", x=axis_label(rows), y="share of runs that alarm")
    return figure


def power_by_size(table: pd.DataFrame, conditions: Sequence[str]) -> Figure:
    """Return how often each detector alarms at each size of batch, a subplot for each of some conditions.

    Error bars and lines are those of `power_by_strength`.

    Args:
        table: A row for each condition, detector and m, with the columns `condition`, `detector`, `m`, `runs`
            and `alarms`.
        conditions: Which conditions, in their order.

    Raises:
        ValueError: The table has no such condition.
    """
    unknown = [name for name in conditions if name not in set(table["condition"])]
    if unknown or not conditions:
        raise ValueError(f"The table has no condition {', '.join(unknown) or 'that was asked for'}.")
    sizes, detectors = sorted(table["m"].unique()), list(table["detector"].unique())
    ticks = [math.exp(place) for place in spaced([math.log(m) for m in sizes])]
    with rc_context(STYLE):
        figure, axes = subplots(len(conditions), shared=True)
        for axis, condition in zip(axes, conditions, strict=True):
            axis.set_xscale("log")
            draw_alarms(axis, table[table["condition"] == condition], detectors, by="m")
            axis.set_xticks(ticks, [f"{m:.0f}" for m in ticks])
            axis.set_xticks([], minor=True)
            axis.set_title(fill(condition, LETTERS))
        finish(figure, "Power against size of batch", x="m, images in a batch", y="share of runs that alarm")
    return figure


def score_by_strength(table: pd.DataFrame, *, family: str = BLUR) -> Figure:
    """Return the score at each strength of a drift, a subplot for each detector and a line for each m.

    Each subplot has its own scale: scores of different detectors cannot be compared.

    Args:
        table: A row for each condition, detector and m, with the columns `family`, `level`, `axis`,
            `detector`, `m` and `score`. Without drift, the level counts as 0.
        family: The drift whose conditions are shown.

    Raises:
        ValueError: The table has no condition of this family.
    """
    rows = of_family(table, family)
    sizes, detectors = sorted(rows["m"].unique()), list(rows["detector"].unique())
    ticks = spaced(sorted(rows["level"].unique()))
    with rc_context(STYLE):
        figure, axes = subplots(len(detectors))
        for axis, detector in zip(axes, detectors, strict=True):
            for index, m in enumerate(sizes):
                shown = rows[(rows["detector"] == detector) & (rows["m"] == m)].sort_values("level")
                axis.plot(shown["level"], shown["score"], label=f"m = {m}", **line_style(index))
            axis.set_xticks(ticks, [f"{level:.3g}" for level in ticks])
            axis.set_title(fill(detector, LETTERS))
            axis.locator_params(axis="y", nbins=5)
            axis.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
        finish(figure, f"{family}: score against strength", x=axis_label(rows), y="mean score")
    return figure


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure to `name`.png and `name`.svg, each whole or not at all.

    The same figure always makes the same files.

    Args:
        figure: The figure.
        folder: Where to; it exists.
        name: Of both files, without an ending.
    """
    files = {}
    with rc_context(STYLE):
        for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            stream = io.BytesIO()
            figure.savefig(stream, format=ending, dpi=DPI, metadata=metadata)
            files[ending] = stream.getvalue()
    for ending, data in files.items():  # only once both could be drawn
        write(folder / f"{name}.{ending}", data)


def of_family(table: pd.DataFrame, family: str) -> pd.DataFrame:
    """Return the rows of a family of conditions, and those without drift as its level 0."""
    if family not in set(table["family"]):
        raise ValueError(f"The table has no condition of the family {family!r}.")
    rows = table[table["family"].isin([family, NO_DRIFT])].copy()
    rows.loc[rows["family"] == NO_DRIFT, "level"] = 0.0
    return rows


def axis_label(rows: pd.DataFrame) -> str:
    labels = rows.loc[rows["family"] != NO_DRIFT, "axis"].dropna()
    return str(labels.iloc[0]) if len(labels) else "strength"


def subplots(count: int, *, shared: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure with a grid of subplots, as many as are wanted, row by row."""
    columns = 2 if count == 4 else min(count, COLUMNS)
    rows = math.ceil(count / columns)
    # The 1.6 inches are room for the title and the legend.
    figure = Figure(figsize=(WIDTH, rows * ROW_HEIGHT + 1.6), dpi=DPI, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared).flat)
    for empty in axes[count:]:
        empty.remove()
    for axis in axes[:count]:
        axis.tick_params(labelbottom=True)  # not in the last row alone, where cells may be empty
    return figure, axes[:count]


def finish(figure: Figure, title: str, *, x: str, y: str) -> None:
    """Add the title, the names of the axes, and the legend of the first subplot as that of all."""
    figure.suptitle(title)
    for axis in figure.axes:
        axis.set_xlabel(fill(x, LETTERS))  # one below all of them would stand in the legend's place
    figure.supylabel(y)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    # The line of alpha comes last; matplotlib lists lines before error bars.
    entries = sorted(zip(labels, handles, strict=True), key=lambda entry: entry[0] == ALPHA_LABEL)
    labels, handles = [label for label, _ in entries], [handle for _, handle in entries]
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5), frameon=False)


def draw_alarms(axis: Axes, rows: pd.DataFrame, detectors: Sequence[str], *, by: str) -> None:
    """Draw the share of alarms of each detector, against a column that is the x-axis."""
    logarithmic = axis.get_xscale() == "log"
    rows = rows.assign(place=np.log(rows[by]) if logarithmic else rows[by])
    step = DODGE * (rows["place"].max() - rows["place"].min()) / len(detectors)
    for index, detector in enumerate(detectors):
        shown = rows[rows["detector"] == detector].sort_values(by)
        moved = shown["place"] + step * (index - (len(detectors) - 1) / 2)
        rates = [AlarmRate.of(round(a * n), n) for a, n in zip(shown["alarms"], shown["runs"], strict=True)]
        shares = np.array([rate.rate for rate in rates])
        # Rounding may put an end of the interval on the wrong side of a share of 0 or 1.
        lengths = [[rate.rate - rate.low for rate in rates], [rate.high - rate.rate for rate in rates]]
        axis.errorbar(
            np.exp(moved) if logarithmic else moved,
            shares,
            yerr=np.maximum(lengths, 0),
            label=detector,
            elinewidth=0.7,
            **line_style(index),
        )
    axis.axhline(ALPHA, color="#555555", linewidth=1, linestyle=(0, (8, 4)), label=ALPHA_LABEL, zorder=0)
    axis.set_ylim(-0.04, 1.04)


def spaced(places: Sequence[float]) -> list[float]:
    """Return the first of sorted places, and those after it whose labels have room."""
    kept: list[float] = []
    for place in places:
        if not kept or place - kept[-1] >= TICK_GAP * (places[-1] - places[0]):
            kept.append(place)
    return kept

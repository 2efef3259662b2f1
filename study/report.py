"""The report: a page that holds everything, the same as text, and its tables and figures as files."""

import base64
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib.figure import Figure

from study.conditions import NO_DRIFT
from study.figures import save
from study.reductions import Quality


@dataclass(frozen=True)
class Study:
    """The results of a study, and what a reader has to know of how they were found.

    Attributes:
        facts: Model, images, sizes and seed, by their names.
        answer: The answer, in paragraphs.
        table: The result of `summarise`.
        tests: The result of `measure`.
        qualities: The quality of each reduction.
        figures: Caption and figure by the name of the file.
        remarks: What was left out, and why.
    """

    facts: Mapping[str, str]
    answer: Sequence[str]
    table: pd.DataFrame
    tests: pd.DataFrame
    qualities: Mapping[str, Quality]
    figures: Mapping[str, tuple[str, Figure]]
    remarks: Sequence[str]


def write(study: Study, out: Path) -> list[str]:
    """Write the report to a folder, and return the names of its files beside the page.

    All are written beside before any is moved: where one cannot be made, what was there before stays.
    """
    environment = Environment(
        loader=PackageLoader("study"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    out.mkdir(parents=True, exist_ok=True)
    with beside(out) as folder:
        for name, (_, figure) in study.figures.items():
            save(figure, folder, name)
        study.table.to_csv(folder / "detectors.csv", index=False)
        study.tests.to_csv(folder / "tests.csv", index=False)
        sizes = sorted(study.table["m"].unique())
        known = {
            "study": study,
            "pivots": {m: pivot(study.table, m, p_value_and_alarms) for m in sizes},
            "scores": {m: pivot(study.table, m, lambda row: f"{row['score']:.4f}") for m in sizes},
            "seconds": seconds(study.table),
            "pictures": {
                name: base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
                for name in study.figures
            },
        }
        for name in ("study.html", "study.md"):
            page = environment.get_template(f"{name}.j2").render(known)
            (folder / name).write_text(page, encoding="utf-8")
        names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if name != "study.html"]


@contextmanager
def beside(out: Path) -> Iterator[Path]:
    """Give a folder whose files are moved to another one at the end, unless something fails."""
    with tempfile.TemporaryDirectory(prefix=".study-", dir=out) as folder:
        yield Path(folder)
        for path in sorted(Path(folder).iterdir()):
            os.replace(path, out / path.name)


def pivot(table: pd.DataFrame, m: int, cell: Callable[[pd.Series], str]) -> pd.DataFrame:
    """Return the tests of one size: a row for each condition, a column for each detector."""
    rows = table[table["m"] == m]
    wide = rows.assign(cell=rows.apply(cell, axis=1)).pivot(
        index="condition", columns="detector", values="cell"
    )
    return wide.loc[rows["condition"].unique(), rows["detector"].unique()].fillna("–")


def p_value_and_alarms(row: pd.Series) -> str:
    """Return both as people read them; TorchDrift's MMD can give zero, which no p-value is."""
    p_value = row["p_value"]
    shown = "0" if p_value == 0 else "< 0.001" if p_value < 0.0005 else f"{p_value:.3f}"
    return f"{shown} ({row['alarms']:.0%})"


def seconds(table: pd.DataFrame) -> pd.DataFrame:
    """Return the median time of one test in milliseconds: a row for each detector, a column for each size."""
    medians = table.groupby(["detector", "m"], sort=False)["seconds"].median().unstack() * 1000
    return medians.map("{:,.1f}".format)


def alarm_shares(table: pd.DataFrame) -> pd.DataFrame:
    """Return the share of runs that alarm: a row for each detector, first without drift, then by size."""
    quiet = table[table["family"] == NO_DRIFT].groupby("detector")["alarms"].mean()
    drifted = table[table["family"] != NO_DRIFT]
    shares = drifted.groupby(["detector", "m"], sort=False)["alarms"].mean().unstack()
    shares.columns = [f"drift, m = {m}" for m in shares.columns]
    shares.insert(0, NO_DRIFT, quiet)
    return shares

"""The table of the documentation, written anew from what was measured."""

import json
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from tests.support.pictures.kinds import KINDS
from tests.support.pictures.measure import Outcome

ROOT = Path(__file__).parents[3]
MEASURED = ROOT / "docs" / "pictures.md"
BEFORE = Path(__file__).with_name("before.json")
WANTED = {"digit": "read", "no-digit": "refused", "warning": "refused, or a warning"}
INTRODUCTION = """# Which pictures of digits are read

{count} kinds of pictures, 200 of each, made of digits that were held out from training. *Wanted* says what
the service should do with them. *Before* is the percentage of them with which it did so when it looked for a
digit in the whole picture at once, and **now** is today's. *Warned* is the percentage that it answers with a
`warning`.

The kinds are programs (`tests/support/pictures/kinds.py`). A test holds the service to 98 % of each kind of
digits (95 % for the thinnest and the thickest pens, for tilts, outlines, a pen that runs dry, a frame of one
pixel, and pictures cropped to the ink), to 95 % of empty pictures, and to 85 % of pictures of something else.

With a model in the store, `.venv/bin/python -m tests.support.pictures` measures them again and writes this
page.
"""


def markdown(measured: Mapping[str, Outcome], before: Mapping[str, float]) -> str:
    """Return the page with a table of the kinds that were measured."""
    parts = [INTRODUCTION.format(count=len(measured))]
    kinds = [kind for kind in KINDS if kind.name in measured]
    for group, members in groupby(kinds, key=lambda kind: kind.group):
        parts += [
            f"\n## {group}\n",
            "| kind | wanted | before, % | now, % | warned, % |",
            "|---|---|---|---|---|",
        ]
        for kind in members:
            outcome = measured[kind.name]
            done = {
                "digit": outcome.right,
                "no-digit": outcome.refused,
                "warning": outcome.refused + outcome.warned,
            }[kind.expected]
            figures = f"{100 * before[kind.name]:.1f} | **{100 * done:.1f}** | {100 * outcome.warned:.1f}"
            parts.append(f"| {kind.name} | {WANTED[kind.expected]} | {figures} |")
    return "\n".join(parts) + "\n"


def before() -> Mapping[str, float]:
    """Return the share of each kind that was rightly answered before digits were looked for in pictures."""
    shares: Mapping[str, float] = json.loads(BEFORE.read_text())
    return shares

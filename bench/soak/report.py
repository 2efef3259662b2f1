"""Tables of a soak's requests and of the service's footprint, and complaints in words."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from rich.table import Column, Table

from bench.footprint import Footprint, megabytes
from bench.questions import BUSY
from bench.soak.clients import BROKEN_OFF, LOST, Visit

MOST_BUSY = 0.01  # share of the answers that may be BUSY
EXAMPLES = 10  # wrong answers that are printed, at most
COLUMNS = ("sent", "answered", BROKEN_OFF, LOST, "wrong", "p50", "p99")


def visit_table(visits: Sequence[Visit]) -> Table:
    """Return a table of requests by kind and outcome."""
    table = Table("requests", *(Column(name, justify="right", no_wrap=True) for name in COLUMNS))
    kinds = defaultdict[str, list[Visit]](list)
    for visit in visits:
        kinds[visit.kind].append(visit)
    for kind in sorted(kinds):
        table.add_row(kind, *cells(kinds[kind]))
    table.add_section()
    table.add_row("all", *cells(visits))
    return table


def cells(visits: Sequence[Visit]) -> list[str]:
    outcomes = Counter(visit.outcome for visit in visits)
    answered = {outcome: count for outcome, count in sorted(outcomes.items()) if outcome.isdigit()}
    seconds = [visit.seconds for visit in visits if visit.outcome.isdigit()]
    return [
        f"{len(visits):,}",
        "\n".join(f"{status}: {count:,}" for status, count in answered.items()),
        f"{outcomes[BROKEN_OFF]:,}",
        f"{outcomes[LOST]:,}",
        f"{sum(bool(visit.complaint) for visit in visits):,}",
        *(f"{np.percentile(seconds, share) * 1000:,.1f} ms" if seconds else "" for share in (50, 99)),
    ]


def footprint_table(before: Footprint, after: Footprint) -> Table:
    """Return a table of the service's resources after the warm-up and at the end."""
    times = (Column(name, justify="right") for name in ("after warm-up", "at the end"))
    table = Table("of the service", *times)
    table.add_row("memory", megabytes(before.memory), megabytes(after.memory))
    for name in ("handles", "threads", "files"):
        table.add_row(name, *(f"{getattr(one, name):,}" for one in (before, after)))
    return table


def complaints(visits: Sequence[Visit]) -> list[str]:
    """Return complaints in words: wrong answers, and too many that say the service is busy."""
    found = [visit.complaint for visit in visits if visit.complaint]
    wrong = [f"... and {len(found) - EXAMPLES:,} more"] if len(found) > EXAMPLES else []
    defects = Counter(visit.outcome for visit in visits if is_defect(visit.outcome))
    good = [visit.outcome for visit in visits if visit.endpoint and visit.outcome.isdigit()]
    others = [visit.outcome for visit in visits if not visit.endpoint and visit.outcome.isdigit()]
    return [
        *found[:EXAMPLES],
        *wrong,
        *(f"{count:,} answers were {status}" for status, count in defects.items()),
        *too_busy(good, "good requests"),
        *too_busy(others, "malformed requests"),
    ]


def is_defect(outcome: str) -> bool:
    return outcome.isdigit() and int(outcome) >= 500


def too_busy(statuses: Sequence[str], what: str) -> list[str]:
    busy = statuses.count(str(BUSY))
    if busy <= MOST_BUSY * len(statuses):
        return []
    return [f"{busy:,} of {len(statuses):,} {what} were answered {BUSY}, of which {MOST_BUSY:.0%} may be"]

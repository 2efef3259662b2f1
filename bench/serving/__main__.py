"""`python -m bench.serving`: this service beside TorchServe, LitServe and FastAPI, on loopback and all cores.

All serve the newest models of the store and get the same images, one in each request, from wrk. A row shows
the images answered per second, the time of an answer, the number of answers other than 200, and the memory
of all processes of the server (PSS: a page that several share counts once). `of limit` compares the rate with
that of the model's forward pass alone, in the fastest way found on this machine. The peers' packages are
installed into a folder of their own.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from tqdm import tqdm

from bench.processes import exit_on_signals, python, result_of
from bench.raw import Rate
from bench.serving.machine_load import QUIET, TRIES, is_quiet, megabytes
from bench.serving.server import Server, ServerUnavailableError, serving
from bench.serving.servers import SERVERS
from bench.serving.workload import Workload, load_workload
from bench.serving.wrk import (
    INSTALL,
    NoResultError,
    Sample,
    Target,
    is_installed,
    load,
    quiet_sample,
    settle,
)
from bento import store

CLIENTS = (1, 8, 32)
CLIENTS_OF_A_LONG_RUN = (8,)
WARM_UP_SECONDS = 3
LIMIT_SECONDS = 3  # of measuring the forward pass alone
WARM_UP_REQUESTS = 200
WINDOW = 1000  # requests at the beginning and at the end of a long run
MODELS = ("mnist", "resnet")
COMPARISON = ("model", "server", "clients", "images/s", "of limit", "p50", "p99", "errors", "memory")
LONG_RUN = ("model", "server", "clients", "requests", "images/s", "p50", "p99", "errors", "memory")
DISTURBED = f"* Something else used more than {QUIET:g} cores meanwhile."


@dataclass(frozen=True)
class Measured:
    """One measurement of a server.

    Attributes:
        clients: Number of clients at a time.
        requests: Which of the server's requests were measured; only in a long run.
        sample: What wrk measured.
        megabytes: The server's memory afterwards.
    """

    clients: int
    requests: str
    sample: Sample
    megabytes: float


def main() -> int:
    options = parser().parse_args()
    exit_on_signals()
    if not is_installed():
        print(INSTALL, file=sys.stderr)
        return 1
    columns = LONG_RUN if options.requests else COMPARISON
    table = Table(*(Column(name, justify="right", no_wrap=True) for name in columns))
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        workloads = [found for model in options.model if (found := workload_or_none(model, Path(folder)))]
        for chosen in workloads:
            rows, said = compare(chosen, options, Path(folder))
            for row in rows:
                table.add_row(*(row.get(column, "") for column in columns))
            table.add_section()
            notes += said
    if not workloads:
        return 1
    console = Console(width=120)
    console.print(table)
    for note in [*notes, DISTURBED]:
        console.print(note, highlight=False, soft_wrap=True)
    return 0


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    keys = list(dict.fromkeys(server.key for server in SERVERS))
    options.add_argument("--only", nargs="+", choices=keys, default=keys, help="these servers")
    options.add_argument("--model", nargs="+", choices=MODELS, default=MODELS, help="these models")
    options.add_argument(
        "--clients",
        type=int,
        nargs="+",
        help=f"at a time (default: {CLIENTS}, and {CLIENTS_OF_A_LONG_RUN} with --requests)",
    )
    options.add_argument(
        "--seconds", type=float, default=10, help="that each row measures (default: %(default)s)"
    )
    options.add_argument(
        "--tries",
        type=int,
        default=TRIES,
        help="of each measurement, at most, while other programs disturb it (default: %(default)s)",
    )
    options.add_argument(
        "--requests",
        type=int,
        help=f"measure the first {WINDOW:,} requests and the {WINDOW:,} after this many, not --seconds",
    )
    return options


def workload_or_none(model: str, folder: Path) -> Workload | None:
    """Return a model with images for it; where the store has none, print how to train it."""
    try:
        return load_workload(model, folder)
    except (store.NoSuchModelError, store.DamagedModelError) as error:
        print(f"{error} Run `python -m train {model}` first.", file=sys.stderr)
        return None


def compare(
    chosen: Workload, options: argparse.Namespace, folder: Path
) -> tuple[list[dict[str, str]], list[str]]:
    """Return the table rows of all servers of a model, and the notes below the table."""
    servers = [
        server
        for server in SERVERS
        if server.key in options.only and (not server.is_empty or chosen.model == options.model[0])
    ]
    limits = {} if options.requests else forward_limits(chosen, options)
    best = max((limit.images_per_second for limit in limits.values()), default=None)
    rows = []
    notes = [limit_note(chosen.model, name, limit) for name, limit in limits.items()]
    for server in tqdm(servers, desc=chosen.model):
        facts = {"model": "" if server.is_empty else chosen.model, "server": server.title}
        try:
            with serving(server, chosen) as target:
                for measured in samples(target, options, folder):
                    rows.append(facts | cells(measured, None if server.is_empty else best))
                    notes += remarks(server, measured)
        except (ServerUnavailableError, NoResultError) as error:
            rows.append(facts | {"images/s": "not run"})
            notes.append(f"{server.title} was not run on {chosen.model}. {error}")
    return rows, notes


def forward_limits(chosen: Workload, options: argparse.Namespace) -> Mapping[str, Rate]:
    """Return the best rate of the forward pass alone for each form of the model."""
    effort = [f"--seconds={min(options.seconds, LIMIT_SECONDS)}", f"--tries={options.tries}"]
    printed = result_of(python("bench.raw", chosen.model, *effort))
    return {name: Rate(**rate) for name, rate in json.loads(printed).items()}


def samples(target: Target, options: argparse.Namespace, folder: Path) -> Iterator[Measured]:
    """Yield the measurements of a running server that the options ask for."""
    if options.requests:
        for clients in options.clients or CLIENTS_OF_A_LONG_RUN:
            yield from over_time(target, clients, options.requests, folder)
    else:
        for clients in options.clients or CLIENTS:
            load(target, clients, folder, seconds=min(WARM_UP_SECONDS, options.seconds))
            sample = quiet_sample(target, clients, options.seconds, options.tries, folder)
            yield Measured(clients, "", sample, megabytes(target.process))


def over_time(target: Target, clients: int, requests: int, folder: Path) -> Iterator[Measured]:
    """Yield measurements of a server's first requests, of those in between, and of its last."""
    load(target, clients, folder, requests=WARM_UP_REQUESTS)
    settle(target)
    between = max(1, requests - WINDOW)
    for label, count in (("first", WINDOW), ("next", between), ("last", WINDOW)):
        sample = load(target, clients, folder, requests=count)
        yield Measured(clients, f"{label} {count:,}", sample, megabytes(target.process))


def cells(measured: Measured, limit: float | None) -> dict[str, str]:
    """Return the cells of a measurement, without the model and the server."""
    sample = measured.sample
    return {
        "clients": str(measured.clients),
        "requests": measured.requests,
        "images/s": f"{sample.rate:,.1f}" + ("" if is_quiet(sample) else "*"),
        "of limit": "" if limit is None else f"{sample.rate / limit:.0%}",
        "p50": milliseconds(sample.p50),
        "p99": milliseconds(sample.p99),
        "errors": f"{sum(sample.errors.values()):,}",
        "memory": f"{measured.megabytes:,.0f} MB",
    }


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms" if seconds < 0.1 else f"{seconds * 1000:,.0f} ms"


def remarks(server: Server, measured: Measured) -> list[str]:
    """Return a note that lists the errors of a measurement, if it had any."""
    if not measured.sample.errors:
        return []
    kinds = ", ".join(f"{number:,} × {kind}" for kind, number in measured.sample.errors.items())
    return [f"{server.title}, {measured.clients} clients: {kinds}."]


def limit_note(model: str, name: str, limit: Rate) -> str:
    return (
        f"The forward pass of {model} alone, {name}: {limit.images_per_second:,.1f} images/s"
        f"{'' if is_quiet(limit) else '*'}"
        f" (streams: {limit.streams}, threads of each: {limit.threads}, images in each: {limit.images})."
    )


if __name__ == "__main__":
    sys.exit(main())

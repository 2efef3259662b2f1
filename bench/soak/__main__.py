"""`python -m bench.soak`: good and bad traffic at the same time for as long as you like, and what it leaves.

It serves the newest model of the store on a free port, or takes a service that runs already, and sends it
digits and batches whose answers are known, malformed requests of all kinds, requests that are broken off and
ones that are slow. Every answer has to be right. One in a hundred may be that there is too much to do (429),
and none that the service cannot answer (503) or was too late (504), since it is not asked for too much. As
many answers as came, good ones of each endpoint and problems of all, it has to have counted itself, but for
those that nobody waited for; so nobody else may ask it meanwhile. Afterwards it has to take no more memory,
handles, threads and temporary files than after the warm-up. The exit status says whether all of that is so.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from rich.console import Console
from tqdm import tqdm

from bench.footprint import Footprint, at_rest, settled
from bench.processes import exit_on_signals
from bench.questions import Question, UnfitServiceError, questions
from bench.service import require_model, service
from bench.soak.clients import Client, Visit
from bench.soak.counts import Counts, unaccounted
from bench.soak.report import complaints, footprint_table, visit_table
from bench.wire import NoAnswerError, Wire

QUICK_PER_SLOW = 2  # clients of each kind
READ_TIMEOUT_SECONDS = "2"  # of the service that is started here, whose default makes few slow requests
MODEL = "mnist"


@dataclass(frozen=True)
class Soaked:
    """A service to soak: where it is, and where it is on this machine, what it takes of it."""

    address: tuple[str, int]
    measure: Callable[[], Footprint] | None


def main() -> int:
    options = parser().parse_args()
    exit_on_signals()
    if options.url is None:
        require_model(MODEL)
    with running_service(options) if options.url else own_service() as soaked:
        try:
            asked = questions(Wire(*soaked.address), options.seed)
        except (UnfitServiceError, NoAnswerError) as error:
            print(f"The service cannot be soaked: {error}", file=sys.stderr)
            return 1
        return soak(soaked, asked, options)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    options.add_argument("--seconds", type=float, default=120, help="(default: %(default)s)")
    options.add_argument(
        "--warm-up", type=float, default=20, help="seconds that come before (default: %(default)s)"
    )
    options.add_argument(
        "--clients",
        type=int,
        default=8,
        help=f"that send one request after the other; slow ones, one for {QUICK_PER_SLOW}, come on top "
        "(default: %(default)s)",
    )
    options.add_argument("--seed", type=int, default=0, help="of what is sent (default: %(default)s)")
    options.add_argument(
        "--patience",
        type=float,
        default=60,
        help="seconds in which the service has to come to rest (default: %(default)s)",
    )
    options.add_argument("--url", help="of a service that runs; without it, one is started")
    options.add_argument("--pid", type=int, help="of the service at --url, if it runs on this machine")
    return options


@contextmanager
def own_service() -> Iterator[Soaked]:
    with (
        tempfile.TemporaryDirectory() as folder,
        service(TMPDIR=folder, READ_TIMEOUT_SECONDS=READ_TIMEOUT_SECONDS) as (address, process),
    ):
        host, _, port = address.partition(":")
        yield Soaked((host, int(port)), partial(of_service, process, Path(folder)))


@contextmanager
def running_service(options: argparse.Namespace) -> Iterator[Soaked]:
    url = urlsplit(options.url)
    measure = None
    if options.pid is not None:
        process = psutil.Process(options.pid)
        folder = process.environ().get("TMPDIR")  # without one, it shares the machine's with others
        measure = partial(of_service, process, Path(folder) if folder else None)
    yield Soaked((url.hostname or "", url.port or 80), measure)


def of_service(process: psutil.Process, folder: Path | None) -> Footprint:
    """Return what the workers take, since the process that started them does nothing with requests."""
    return Footprint.of(process.children(recursive=True) or [process], folder)


def soak(soaked: Soaked, asked: Sequence[Question], options: argparse.Namespace) -> int:
    """Warm a service up, send it traffic, print what became of all of it, and return the exit status."""
    counted = Counts.of(Wire(*soaked.address))
    first = visit_all_at_once(soaked, asked, options)
    warm_up = send(soaked, asked, options.warm_up, options, "Warm-up")
    before = soaked.measure and settled(soaked.measure, within_seconds=options.patience)
    visits = send(soaked, asked, options.seconds, options, "Soak")
    found = [*complaints(first), *complaints(warm_up), *complaints(visits)]
    console = Console(width=110)
    console.print(visit_table(visits))
    if soaked.measure and before:
        after = at_rest(soaked.measure, before, within_seconds=options.patience)
        console.print(footprint_table(before, after))
        found += after.growth_since(before)
    found += miscounted(soaked, counted, [*first, *warm_up, *visits])
    for complaint in found:
        console.print(complaint, highlight=False, soft_wrap=True, markup=False)
    console.print("Something is wrong." if found else "All is well.")
    return 1 if found else 0


def miscounted(soaked: Soaked, before: Counts, visits: Sequence[Visit]) -> list[str]:
    """Say where what the service has counted since is not what became of the requests."""
    try:
        return unaccounted(visits, Counts.of(Wire(*soaked.address)).since(before))
    except (UnfitServiceError, NoAnswerError) as error:
        return [f"What the service has counted cannot be known: {error}"]


def visit_all_at_once(soaked: Soaked, asked: Sequence[Question], options: argparse.Namespace) -> list[Visit]:
    """Have each client send everything once, so that the service starts all threads that it ever needs."""
    clients = [Client(soaked.address, asked, seed) for seed in range(n_clients(options))]
    with ThreadPoolExecutor(len(clients)) as pool:
        return list(chain(*pool.map(Client.visit_with_everything, clients)))


def n_clients(options: argparse.Namespace) -> int:
    return int(options.clients + max(1, options.clients // QUICK_PER_SLOW))


def send(
    soaked: Soaked, asked: Sequence[Question], seconds: float, options: argparse.Namespace, what: str
) -> list[Visit]:
    """Send traffic for a time, and return what became of the requests."""
    seeds = range(options.seed, options.seed + n_clients(options))
    clients = [Client(soaked.address, asked, seed) for seed in seeds]
    guard, enough = threading.Lock(), threading.Event()
    with tqdm(desc=what, unit=" requests", mininterval=1) as bar, ThreadPoolExecutor(len(clients)) as pool:

        def visit(client: Client, once: Callable[[], Visit]) -> list[Visit]:
            visits = []
            while not enough.is_set():
                with guard:
                    bar.update()
                visits.append(once())
            client.wire.close()
            return visits

        quick = [pool.submit(visit, client, client.visit_quickly) for client in clients[: options.clients]]
        patient = [pool.submit(visit, client, client.visit_slowly) for client in clients[options.clients :]]
        try:
            time.sleep(seconds)
        finally:  # be it that the program is interrupted
            enough.set()
        return list(chain(*(future.result() for future in quick + patient)))


if __name__ == "__main__":
    sys.exit(main())

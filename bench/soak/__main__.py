"""`python -m bench.soak`: good and bad traffic for as long as you like, and whether the service leaks.

It serves the newest model of the store on a free port, or takes a running service, and sends it digits and
batches with known answers, malformed requests of all kinds, requests that are broken off and slow ones.

- Every answer has to be right. One in a hundred may be 429 (too busy), none 503 or 504.
- The service's own metrics have to count as many answers as arrived: good ones of each endpoint, and
  problems in all, except for requests whose clients left. So nobody else may use it meanwhile.
- Afterwards it may use no more memory, handles, threads and temporary files than after the warm-up.

The exit status is 0 if all of that holds.
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

QUICK_PER_SLOW = 2  # quick clients for each slow one
READ_TIMEOUT_SECONDS = "2"  # of a service started here; with the default, slow requests would be few
MODEL = "mnist"


@dataclass(frozen=True)
class Soaked:
    """The address of a service, and a function that measures it if it runs on this machine."""

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
    options = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--seconds", type=float, default=120, help="(default: %(default)s)")
    options.add_argument(
        "--warm-up", type=float, default=20, help="seconds of traffic before that (default: %(default)s)"
    )
    options.add_argument(
        "--clients",
        type=int,
        default=8,
        help=f"that send one request after the other; for every {QUICK_PER_SLOW} there is a slow one more "
        "(default: %(default)s)",
    )
    options.add_argument("--seed", type=int, default=0, help="of what is sent (default: %(default)s)")
    options.add_argument(
        "--patience",
        type=float,
        default=60,
        help="seconds in which the service has to become idle (default: %(default)s)",
    )
    options.add_argument("--url", help="of a running service; without it, one is started")
    options.add_argument("--pid", type=int, help="of the service at --url, if it runs on this machine")
    return options


@contextmanager
def own_service() -> Iterator[Soaked]:
    """Start a service, whose temporary files are in a folder of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        service(TMPDIR=folder, READ_TIMEOUT_SECONDS=READ_TIMEOUT_SECONDS) as (address, process),
    ):
        host, _, port = address.partition(":")
        yield Soaked((host, int(port)), partial(of_service, process, Path(folder)))


@contextmanager
def running_service(options: argparse.Namespace) -> Iterator[Soaked]:
    """Yield the service of --url and --pid."""
    url = urlsplit(options.url)
    measure = None
    if options.pid is not None:
        process = psutil.Process(options.pid)
        folder = process.environ().get("TMPDIR")  # without one, it shares a folder with other programs
        measure = partial(of_service, process, Path(folder) if folder else None)
    yield Soaked((url.hostname or "", url.port or 80), measure)


def of_service(process: psutil.Process, folder: Path | None) -> Footprint:
    """Return what the workers of a service use; the process that started them answers no requests."""
    return Footprint.of(process.children(recursive=True) or [process], folder)


def soak(soaked: Soaked, asked: Sequence[Question], options: argparse.Namespace) -> int:
    """Warm a service up, send it traffic, print the results, and return the exit status."""
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
    """Return differences between the service's counts since `before` and the answers to visits, in words."""
    try:
        return unaccounted(visits, Counts.of(Wire(*soaked.address)).since(before))
    except (UnfitServiceError, NoAnswerError) as error:
        return [f"What the service has counted cannot be known: {error}"]


def visit_all_at_once(soaked: Soaked, asked: Sequence[Question], options: argparse.Namespace) -> list[Visit]:
    """Have each client send everything once, so that the service starts all threads that it will need."""
    clients = [Client(soaked.address, asked, seed) for seed in range(n_clients(options))]
    with ThreadPoolExecutor(len(clients)) as pool:
        return list(chain(*pool.map(Client.visit_with_everything, clients)))


def n_clients(options: argparse.Namespace) -> int:
    """Return the number of quick and slow clients together."""
    return int(options.clients + max(1, options.clients // QUICK_PER_SLOW))


def send(
    soaked: Soaked, asked: Sequence[Question], seconds: float, options: argparse.Namespace, what: str
) -> list[Visit]:
    """Send traffic for some seconds, and return all requests with their outcomes."""
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
        finally:  # also when the program is interrupted
            enough.set()
        return list(chain(*(future.result() for future in quick + patient)))


if __name__ == "__main__":
    sys.exit(main())

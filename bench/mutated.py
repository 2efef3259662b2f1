"""`python -m bench.mutated`: thousands of damaged pictures of every format, and the time of digits meanwhile.

It serves the newest model of the store on a free port, with the settings of the environment. Several clients
send it randomly damaged pictures, several in each request, while another client sends one digit after the
other. Each damaged picture has to get a label or a problem of the caller (no 5xx), and no digit may take
longer than the limit. The exit status is 0 if all of that holds.
"""

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from bench.bodies import form
from bench.damage import mutated
from bench.malformed.kinds import post
from bench.processes import exit_on_signals
from bench.questions import Question, UnfitServiceError, questions
from bench.service import require_model, service
from bench.wire import NoAnswerError, Wire

MODEL = "mnist"
TOGETHER = 8  # pictures in a request, few enough for the quick lane
PAUSE_SECONDS = 0.005  # between two digits


@dataclass
class Seen:
    """Answers to the damaged pictures, and times of the digits.

    Attributes:
        outcomes: Number of pictures by outcome: `read`, or the kind of problem.
        complaints: What was wrong with answers.
        seconds: Time of each digit.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def main() -> int:
    options = parser().parse_args()
    exit_on_signals()
    require_model(MODEL)
    seen = Seen()
    with service() as (address, _):
        host, _, port = address.partition(":")
        try:
            digit = questions(Wire(host, int(port)), options.seed)[0]
        except (UnfitServiceError, NoAnswerError) as error:
            print(f"The service cannot be tried: {error}", file=sys.stderr)
            return 1
        with asking(Wire(host, int(port)), digit, seen):
            send_all((host, int(port)), seen, options)
    return report(seen, options.limit)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m bench.mutated", description=__doc__)
    options.add_argument("--pictures", type=int, default=100_000, help="(default: %(default)s)")
    options.add_argument(
        "--clients", type=int, default=2, help="that send damaged pictures (default: %(default)s)"
    )
    options.add_argument("--seed", type=int, default=0, help="of the damage (default: %(default)s)")
    options.add_argument(
        "--limit", type=float, default=250, help="milliseconds that a digit may take (default: %(default)s)"
    )
    return options


@contextmanager
def asking(wire: Wire, digit: Question, seen: Seen) -> Iterator[None]:
    """Classify a digit again and again in another thread."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(PAUSE_SECONDS):
            began = time.perf_counter()
            try:
                complaint = digit.complaint(wire.ask(digit.sent))
            except NoAnswerError as error:
                complaint = f"digit: no answer ({error})"
            seen.seconds.append(time.perf_counter() - began)
            if complaint:
                seen.complaints.append(complaint)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield
    finally:
        stop.set()
        asker.join()


def send_all(address: tuple[str, int], seen: Seen, options: argparse.Namespace) -> None:
    """Send all damaged pictures, spread over the clients."""
    starts = range(0, options.pictures, TOGETHER)
    groups = [range(start, min(start + TOGETHER, options.pictures)) for start in starts]
    with (
        ThreadPoolExecutor(options.clients) as clients,
        tqdm(total=options.pictures, unit="pictures", disable=None) as progress,
    ):
        parts = [
            clients.submit(
                send, Wire(*address), groups[client :: options.clients], seen, options.seed, progress
            )
            for client in range(options.clients)
        ]
        for part in parts:
            part.result()


def send(wire: Wire, groups: Sequence[range], seen: Seen, seed: int, progress: tqdm) -> None:
    """Send groups of damaged pictures, each group in one request."""
    for group in groups:
        pictures = [mutated(np.random.default_rng([seed, index])) for index in group]
        files = [("images", (name, data, "image/png")) for name, data in pictures]
        body = form(files, {})
        try:
            answer = wire.ask(post("/classify", body.content, body.content_type))
            outcomes = outcomes_of(answer.json())
            if answer.status >= 500 or "internal-error" in outcomes or len(outcomes) != len(group):
                seen.complaints.append(f"pictures {group}: {answer.status} {answer.body[:200]!r}")
            seen.outcomes.update(outcomes)
        except (NoAnswerError, KeyError, ValueError) as error:
            seen.complaints.append(f"pictures {group}: {type(error).__name__} {error}")
        progress.update(len(group))


def outcomes_of(body: dict) -> list[str]:
    """Return the outcome of each picture of a request: `read`, or the kind of problem."""
    results = body.get("results") or body.get("image_errors") or [{"error": body}]
    return [kind_of(result["error"]) if "error" in result else "read" for result in results]


def kind_of(problem: dict) -> str:
    return str(problem["type"]).rpartition(":")[2]


def report(seen: Seen, limit: float) -> int:
    """Print what was seen, and return the exit status."""
    table = Table("a damaged picture became", "pictures")
    for outcome, count in seen.outcomes.most_common():
        table.add_row(outcome, f"{count:,}")
    milliseconds = 1000 * np.array(seen.seconds)
    p50, p99, worst = np.percentile(milliseconds, [50, 99, 100])
    console = Console(width=110)
    console.print(table)
    console.print(
        f"{len(milliseconds):,} digits meanwhile: p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {worst:.0f} ms."
    )
    for complaint in seen.complaints[:20]:
        console.print(complaint, markup=False)
    if worst > limit:
        console.print(f"A digit took longer than {limit:g} ms.")
    return int(bool(seen.complaints) or worst > limit)


if __name__ == "__main__":
    sys.exit(main())

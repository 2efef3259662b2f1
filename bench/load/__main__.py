"""`python -m bench.load`: send one request again and again, and print the times of the answers as JSON.

Other benchmarks start it. It is a process of its own and uses the standard library's small HTTP client,
because it shares its cores with the service: the time that it takes would look like the service's. `cores`
in its output says how much processor time it took.
"""

import argparse
import http.client
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

ANSWERED_WITHIN_SECONDS = 120


@dataclass(frozen=True)
class Outcome:
    """Times of the answers that came between --begin and --end.

    Attributes:
        seconds: Time of each answer with status 200.
        errors: Number of requests with another answer, or none.
        cores: Processor time of this program per second.
    """

    seconds: list[float]
    errors: int
    cores: float


def main() -> int:
    options = parser().parse_args()
    body = options.body.read_bytes()
    started = time.monotonic()
    with ThreadPoolExecutor(options.clients) as threads:
        answers = list(chain(*threads.map(lambda _: send(options, body), range(options.clients))))
    cores = time.process_time() / (time.monotonic() - started)
    good = [seconds for seconds, is_good in answers if is_good]
    outcome = json.dumps(asdict(Outcome(good, len(answers) - len(good), cores)))
    with suppress(BrokenPipeError):  # the benchmark that started this program was interrupted
        print(outcome, flush=True)
    return 0


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    options.add_argument("--address", required=True, help="HOST:PORT of the service")
    options.add_argument("--path", required=True, help="the endpoint")
    options.add_argument("--body", type=Path, required=True, help="file that holds the body of the request")
    options.add_argument("--content-type", required=True, help="of the body")
    options.add_argument("--clients", type=int, default=1, help="each sends one request after the other")
    # time.monotonic() is the same in every process of a machine.
    options.add_argument(
        "--begin", type=float, required=True, help="answers count from this time.monotonic()"
    )
    options.add_argument(
        "--end", type=float, required=True, help="nothing is sent after this time.monotonic()"
    )
    return options


def send(options: argparse.Namespace, body: bytes) -> list[tuple[float, bool]]:
    """Return the time of each answer that counts, and whether its status was 200."""
    connection = http.client.HTTPConnection(options.address, timeout=ANSWERED_WITHIN_SECONDS)
    headers = {"Content-Type": options.content_type}
    answers = []
    while (sent := time.monotonic()) < options.end:
        try:
            connection.request("POST", options.path, body, headers)
            response = connection.getresponse()
            response.read()
            is_good = response.status == http.client.OK
        except (OSError, http.client.HTTPException):
            connection.close()  # the next request opens it again
            is_good = False
        answered = time.monotonic()
        if answered >= options.begin:
            answers.append((answered - sent, is_good))
    connection.close()
    return answers


if __name__ == "__main__":
    sys.exit(main())

"""Load on a server by `wrk`, a client that takes a few hundredths of a core; one in Python takes a third."""

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from bench.bodies import Body
from bench.processes import running
from bench.serving.machine_load import Watch, cpu_seconds, family, least_disturbed

INSTALL = "wrk, which sends the requests, is not installed: `apt install wrk`."
ANSWERED_WITHIN_SECONDS = 120
SCRIPT = Path(__file__).with_name("post.lua")
AT_MOST_SECONDS = 24 * 3600  # wrk must be given a duration, even if the number of requests ends it
IDLE = 0.05  # cores that an idle server may use
IDLE_WITHIN_SECONDS = 5


class NoResultError(Exception):
    """wrk could not load a server."""


@dataclass(frozen=True)
class Target:
    """A server that is loaded.

    Attributes:
        address: Its host and port.
        path: The endpoint.
        bodies: Bodies of requests, sent in turn.
        process: The process that started the others.
    """

    address: str
    path: str
    bodies: Sequence[Body]
    process: psutil.Popen


@dataclass(frozen=True)
class Sample:
    """What wrk measured in one run.

    wrk corrects its times for coordinated omission: where a client had to wait, it adds the times of the
    requests that the client would have sent meanwhile.

    Attributes:
        requests: Number of answers.
        seconds: Duration of the run.
        p50: Median time of an answer, in seconds.
        p99: 99th percentile, in seconds.
        longest: Longest time, in seconds.
        errors: Number of requests without a 200, by status or kind of failure.
        others: Cores that other programs used meanwhile.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    longest: float
    errors: dict[str, int]
    others: float

    @property
    def rate(self) -> float:
        """Good answers a second."""
        failed = sum(number for kind, number in self.errors.items() if kind.isdigit())
        return (self.requests - failed) / self.seconds


def is_installed() -> bool:
    return shutil.which("wrk") is not None


def quiet_sample(target: Target, clients: int, seconds: float, tries: int, folder: Path) -> Sample:
    """Load a server, again while other programs disturb it, and return the least disturbed run.

    Raises:
        NoResultError: wrk could not connect, or failed.
    """

    def sample() -> Sample:
        settle(target)
        return load(target, clients, folder, seconds=seconds)

    return least_disturbed(sample, tries)


def load(
    target: Target, clients: int, folder: Path, *, seconds: float = AT_MOST_SECONDS, requests: int = 0
) -> Sample:
    """Return what wrk measures while clients send requests, each one after the other.

    Args:
        target: The server.
        clients: Number of clients.
        folder: Where the bodies and the result are written; that of an earlier run can be used again.
        seconds: How long they send.
        requests: Number of answers after which they stop; 0 for no limit.

    Raises:
        NoResultError: wrk could not connect, or failed.
    """
    for index, body in enumerate(target.bodies, 1):
        (folder / f"{index}.type").write_text(body.content_type)
        (folder / f"{index}.body").write_bytes(body.content)
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    flags = [f"-c{clients}", f"-d{max(1, round(seconds))}s", f"--timeout={ANSWERED_WITHIN_SECONDS}s"]
    arguments = [str(folder), target.path, str(len(target.bodies)), str(requests)]
    command = ["wrk", "-t1", *flags, f"--script={SCRIPT}", f"http://{target.address}", "--", *arguments]
    watch = Watch()
    with running(command, stdout=subprocess.DEVNULL) as client:
        client.wait()
    others = watch.others()
    if not result.exists():
        raise NoResultError(f"wrk ended with status {client.returncode} and without a result.")
    return Sample(**json.loads(result.read_text()), others=others)


def settle(target: Target) -> None:
    """Wait until a server has finished the requests of earlier clients.

    A request that is sent now is answered after those. Then the server should become idle; one that never
    does is waited for only for a few seconds.
    """
    refusal(target)
    deadline = time.monotonic() + IDLE_WITHIN_SECONDS
    while time.monotonic() < deadline:
        before, began = cpu_seconds(family(target.process)), time.monotonic()
        time.sleep(0.4)
        if (cpu_seconds(family(target.process)) - before) / (time.monotonic() - began) <= IDLE:
            return


def refusal(target: Target) -> str | None:
    """Return why a server refuses a request, or None if it answers with 200."""
    body = target.bodies[0]
    try:
        answer = httpx.post(
            f"http://{target.address}{target.path}",
            content=body.content,
            headers={"Content-Type": body.content_type},
            trust_env=False,
            timeout=ANSWERED_WITHIN_SECONDS,
        )
    except httpx.TransportError as error:
        return str(error)
    return None if answer.status_code == httpx.codes.OK else f"{answer.status_code} {answer.text[:200]}"

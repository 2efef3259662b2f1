"""Load on a server by `wrk`, which takes a few hundredths of a core; a client in Python takes a third."""

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
AT_MOST_SECONDS = 24 * 3600  # wrk wants a duration even where the number of requests ends it
IDLE = 0.05  # cores that a server uses which has nothing to do
IDLE_WITHIN_SECONDS = 5


class NoResultError(Exception):
    """wrk could not load a server."""


@dataclass(frozen=True)
class Target:
    """A server that is loaded.

    Attributes:
        address: Its host and port.
        path: The endpoint.
        bodies: What it is sent, in turn.
        process: The first of its processes.
    """

    address: str
    path: str
    bodies: Sequence[Body]
    process: psutil.Popen


@dataclass(frozen=True)
class Sample:
    """What became of the requests of one run.

    wrk answers for times as if a client that had to wait had gone on sending: it adds what would have waited
    too (it corrects for coordinated omission).

    Attributes:
        requests: How many were answered.
        seconds: How long the run took.
        p50: Median time of an answer, in seconds.
        p99: One answer in a hundred took longer, in seconds.
        longest: The longest, in seconds.
        errors: How many did not get a 200, by status or by what went wrong.
        others: Cores that something else used meanwhile.
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
    """Load a server for some seconds, again where something else ran, and return the least disturbed run.

    Raises:
        NoResultError: wrk could not connect, or did not end well.
    """

    def sample() -> Sample:
        settle(target)
        return load(target, clients, folder, seconds=seconds)

    return least_disturbed(sample, tries)


def load(
    target: Target, clients: int, folder: Path, *, seconds: float = AT_MOST_SECONDS, requests: int = 0
) -> Sample:
    """Let some clients send requests, each one after the other.

    Args:
        target: The server.
        clients: How many there are.
        folder: Where the bodies and the result are laid; one of an earlier run will do.
        seconds: How long they send.
        requests: After how many answers they stop; 0 for no limit.

    Raises:
        NoResultError: wrk could not connect, or did not end well.
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
    """Wait until a server has done what clients that are gone had asked of it.

    What it is asked now it answers after that. Then it idles, or uses the processor all the same.
    """
    refusal(target)
    deadline = time.monotonic() + IDLE_WITHIN_SECONDS
    while time.monotonic() < deadline:
        before, began = cpu_seconds(family(target.process)), time.monotonic()
        time.sleep(0.4)
        if (cpu_seconds(family(target.process)) - before) / (time.monotonic() - began) <= IDLE:
            return


def refusal(target: Target) -> str | None:
    """Return what a server has against a request, or None where it answers with 200."""
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

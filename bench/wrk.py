"""Load on a server by `wrk`, which takes a few hundredths of a core; a client in Python takes a third."""

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.bodies import Body
from bench.processes import running

INSTALL = "wrk, which sends the requests, is not installed: `apt install wrk`."
ANSWERED_WITHIN_SECONDS = 120
SCRIPT = Path(__file__).with_name("post.lua")
AT_MOST_SECONDS = 24 * 3600  # wrk wants a duration even where the number of requests ends it
QUIET = 0.1  # cores that everything else may use before a sample is measured again
TRIES = 3
IDLE = 0.05  # cores that a server uses which has nothing to do
IDLE_WITHIN_SECONDS = 30


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
    process: psutil.Process


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
        others: Cores that neither the server nor the client used.
        sender: Cores that the client used.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    longest: float
    errors: dict[str, int]
    others: float
    sender: float

    @property
    def rate(self) -> float:
        """Good answers a second."""
        failed = sum(number for kind, number in self.errors.items() if kind.isdigit())
        return (self.requests - failed) / self.seconds

    @property
    def is_quiet(self) -> bool:
        """Whether hardly anything else ran meanwhile."""
        return self.others <= QUIET


def is_installed() -> bool:
    return shutil.which("wrk") is not None


def quiet_sample(target: Target, clients: int, seconds: float, folder: Path) -> Sample:
    """Load a server for some seconds, again where something else ran, and return the least disturbed run.

    Raises:
        NoResultError: wrk could not connect, or did not end well.
    """
    samples: list[Sample] = []
    while not samples or (not samples[-1].is_quiet and len(samples) < TRIES):
        settle(target)
        samples.append(load(target, clients, folder, seconds=seconds))
    return min(samples, key=lambda sample: sample.others)


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
    watch, used = Watch(target.process), 0.0
    arguments = [str(folder), target.path, str(len(target.bodies)), str(requests)]
    command = ["wrk", "-t1", *flags, f"--script={SCRIPT}", f"http://{target.address}", "--", *arguments]
    with running(command, stdout=subprocess.DEVNULL) as client:
        while client.poll() is None:
            used = cpu_seconds([client]) or used
            time.sleep(0.05)
    others, sender = watch.cores(used)
    if not result.exists():
        raise NoResultError(f"wrk ended with status {client.returncode} and without a result.")
    return Sample(**json.loads(result.read_text()), others=others, sender=sender)


class Watch:
    """How much of the machine is used by others than a server, its client and this program."""

    def __init__(self, server: psutil.Process) -> None:
        self.server = server
        self.began, self.all, self.ours = time.monotonic(), busy_seconds(), self.known()

    def known(self) -> float:
        return cpu_seconds([*family(self.server), psutil.Process()])

    def cores(self, client_seconds: float) -> tuple[float, float]:
        """Return the cores that others and the client have used, given the processor time of the client."""
        passed = time.monotonic() - self.began
        ours = self.known() - self.ours + client_seconds
        return max(0.0, busy_seconds() - self.all - ours) / passed, client_seconds / passed


def busy_seconds() -> float:
    """Return the processor time that all programs of the machine have used since it started."""
    times = psutil.cpu_times()
    return sum(getattr(times, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq"))


def family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def settle(target: Target) -> None:
    """Wait until a server has done what clients that are gone had asked of it."""
    deadline = time.monotonic() + IDLE_WITHIN_SECONDS
    while time.monotonic() < deadline:
        before, began = cpu_seconds(family(target.process)), time.monotonic()
        time.sleep(0.4)
        if (cpu_seconds(family(target.process)) - before) / (time.monotonic() - began) <= IDLE:
            return


def megabytes(process: psutil.Process) -> float:
    """Return the memory of a process and all that it started, each shared page counted once (PSS)."""
    total = 0
    for member in family(process):
        try:
            total += member.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20

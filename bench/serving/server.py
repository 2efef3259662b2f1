"""A server that `bench.serving` compares: how it is started and stopped, and how it is sent an image."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.bodies import Body
from bench.peers.environment import PeersUnavailableError
from bench.processes import HOST, ROOT, free_port, running
from bench.serving.workload import Workload
from bench.serving.wrk import Target, refusal

READY_WITHIN_SECONDS = 60


class ServerUnavailableError(Exception):
    """A server cannot be started, or does not answer."""


@dataclass(frozen=True)
class Program:
    """The command that starts a server, with its environment variables and working folder."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path = ROOT


@dataclass(frozen=True)
class Server:
    """A way to serve a model.

    Attributes:
        key: Its name, or that of several of its kind, in `--only`.
        title: Its name in the table.
        program: Returns the program that serves a workload on a port, with a folder for its files.
        path: Returns its endpoint for a workload.
        body: Returns the body of a request with an image.
        is_empty: Whether it reads requests and does nothing with them.
    """

    key: str
    title: str
    program: Callable[[Workload, int, Path], Program]
    path: Callable[[Workload], str]
    body: Callable[[Workload, bytes], Body]
    is_empty: bool = False


@contextmanager
def serving(server: Server, workload: Workload) -> Iterator[Target]:
    """Run a server, yield it once it answers, and stop it.

    Raises:
        ServerUnavailableError: It cannot be started, or does not answer with 200.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        try:
            program = server.program(workload, port, folder)
        except PeersUnavailableError as error:
            raise ServerUnavailableError(str(error)) from None
        log = folder / "server.log"
        process = stack.enter_context(
            running(
                program.command,
                environment=program.environment,
                folder=program.folder,
                stdout=stack.enter_context(log.open("wb")),
                stderr=subprocess.STDOUT,
            )
        )
        bodies = [server.body(workload, image) for image in workload.images]
        target = Target(f"{HOST}:{port}", server.path(workload), bodies, process)
        wait_until_ready(target, log)
        yield target


def wait_until_ready(target: Target, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while (problem := refusal(target)) is not None:
        if target.process.poll() is not None or time.monotonic() > deadline:
            *_, last = ["", *log.read_text(errors="replace").strip().splitlines()]
            raise ServerUnavailableError(f"{problem} – {last[:200]}")
        time.sleep(0.2)

"""What a server is to `bench.serving`: a program to start, a request to send, and an end to both."""

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
from bench.serving.wrk import Target, refusal

READY_WITHIN_SECONDS = 60


class ServerUnavailableError(Exception):
    """A server cannot be started, or does not answer."""


@dataclass(frozen=True)
class Workload:
    """A model of the store and images for it.

    Attributes:
        model: Its name in the store.
        folder: Its folder there.
        preparation: How an image becomes an input: `digits` or `photograph`.
        images: Image files.
        media_type: Of the image files.
    """

    model: str
    folder: Path
    preparation: str
    images: Sequence[bytes]
    media_type: str


@dataclass(frozen=True)
class Program:
    """How a server is started: command, environment variables and folder."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path = ROOT


@dataclass(frozen=True)
class Server:
    """A way to serve a model.

    Attributes:
        key: What `--only` calls it, and others of its kind.
        title: What the table calls it.
        program: How it is started, for a workload, on a port, with a folder for its files.
        path: Its endpoint, for a workload.
        body: How it is sent an image.
        is_empty: Whether it does not look at what it is sent.
    """

    key: str
    title: str
    program: Callable[[Workload, int, Path], Program]
    path: Callable[[Workload], str]
    body: Callable[[Workload, bytes], Body]
    is_empty: bool = False


@contextmanager
def serving(server: Server, workload: Workload) -> Iterator[Target]:
    """Start a server, and give it once it answers.

    Raises:
        ServerUnavailableError: It cannot be started, or does not answer as it should.
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

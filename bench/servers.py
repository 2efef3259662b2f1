"""What a server is to `bench.serving`: a program to start, a request to send, and an end to both."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.bodies import Body
from bench.environment import PeersUnavailableError
from bench.processes import HOST, ROOT, free_port, running
from bench.wrk import Target

READY_WITHIN_SECONDS = 120


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
def serving(server: Server, workload: Workload, folder: Path) -> Iterator[Target]:
    """Start a server, and give it once it answers.

    Raises:
        ServerUnavailableError: It cannot be started, or does not answer as it should.
    """
    port = free_port()
    try:
        program = server.program(workload, port, folder)
    except PeersUnavailableError as error:
        raise ServerUnavailableError(str(error)) from None
    bodies = [server.body(workload, image) for image in workload.images]
    log = folder / "server.log"
    with (
        log.open("wb") as output,
        running(
            program.command,
            environment=program.environment,
            folder=program.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        target = Target(f"{HOST}:{port}", server.path(workload), bodies, process)
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while (problem := refusal(target)) is not None:
            if process.poll() is not None or time.monotonic() > deadline:
                *_, last = ["", *log.read_text(errors="replace").strip().splitlines()]
                raise ServerUnavailableError(f"It does not answer: {problem}. The end of its log: {last}")
            time.sleep(0.2)
        yield target


def refusal(target: Target) -> str | None:
    """Return what a server has against a request, or None where it answers."""
    body = target.bodies[0]
    try:
        answer = httpx.post(
            f"http://{target.address}{target.path}",
            content=body.content,
            headers={"Content-Type": body.content_type},
            trust_env=False,
            timeout=READY_WITHIN_SECONDS,
        )
    except httpx.TransportError as error:
        return str(error)
    return None if answer.status_code == httpx.codes.OK else f"{answer.status_code} {answer.text}"

"""Programs that a benchmark starts: each in a session of its own, and none left when the benchmark ends."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parent.parent
HOST = "127.0.0.1"
STOPPED_WITHIN_SECONDS = 30


def exit_on_signals() -> None:
    """Make Ctrl-C and termination leave by SystemExit, so that what was started ends with the program."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


@contextmanager
def running(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, folder: Path = ROOT, **options
) -> Iterator[psutil.Popen]:
    """Run a program, and stop it with all that it started.

    It has a session of its own, so that Ctrl-C in a terminal reaches it through here alone, and in order.

    Args:
        command: The program and its arguments.
        environment: Variables to add to this program's own.
        folder: Where it runs.
        options: What else `subprocess.Popen` takes.
    """
    process = psutil.Popen(
        command,
        cwd=folder,
        env=os.environ | {"BENTOML_DO_NOT_TRACK": "true"} | (environment or {}),
        start_new_session=True,
        **options,
    )
    try:
        yield process
    finally:
        stop(process)


def stop(process: psutil.Popen) -> None:
    """End a program: it is asked first, then the children that outlive it, and at last no one is asked."""
    if process.poll() is not None:
        return
    children = process.children(recursive=True)
    process.terminate()
    _, alive = psutil.wait_procs([process], timeout=STOPPED_WITHIN_SECONDS)
    for orphan in children:
        if orphan.is_running():
            orphan.terminate()
    _, orphans = psutil.wait_procs(children, timeout=STOPPED_WITHIN_SECONDS)
    for survivor in [*alive, *orphans]:
        survivor.kill()


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this program's interpreter."""
    return [sys.executable, "-m", module, *arguments]


def result_of(command: Sequence[str], **options) -> str:
    """Return what a program prints, once it has ended well.

    Raises:
        CalledProcessError: It has not.
    """
    with running(command, stdout=subprocess.PIPE, text=True, **options) as process:
        printed, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, printed)
    return printed


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def is_ready(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False

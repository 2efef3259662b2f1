"""Programs that a benchmark starts, and that all end when the benchmark does."""

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
    """Turn SIGINT and SIGTERM into SystemExit, so that `running` stops what it started."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


@contextmanager
def running(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, folder: Path = ROOT, **options
) -> Iterator[psutil.Popen]:
    """Run a program, and stop it with all that it started.

    It has a session of its own, so that Ctrl-C in a terminal does not reach it and it is stopped from here.

    Args:
        command: The program and its arguments.
        environment: Variables to add to this program's own.
        folder: Its working folder.
        options: Other options of `subprocess.Popen`.
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
    """Terminate a program, then the children that outlive it, and kill those that do not end."""
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
    """Run a program to its end, and return what it prints.

    Raises:
        CalledProcessError: It failed.
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

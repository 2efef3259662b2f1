"""Programs as processes of their own, each with what it may write in one folder."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

ROOT = Path(__file__).parents[2]
READY_WITHIN_SECONDS = 120
TRUE_WITHIN_SECONDS = 60


@contextmanager
def serving(
    home: Path, *, target: str = ".", ready: str = "/readyz", log: Path | None = None, **settings: str
) -> Iterator[httpx.Client]:
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
    output = log.open("wb") if log else subprocess.DEVNULL
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(home) | settings, stdout=output, stderr=subprocess.STDOUT
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until_ready(client, ready, process)
            yield client
    finally:
        process.terminate()
        process.wait(timeout=30)
        if log:
            output.close()


def wait_until_ready(client: httpx.Client, path: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"bentoml serve ended with status {process.returncode} before it was ready")
        try:
            if client.get(path).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"bentoml serve was not ready within {READY_WITHIN_SECONDS} s")


def wait_until(holds: Callable[[], object]) -> None:
    """Wait until something is the case, for as long as it may take on a busy machine."""
    deadline = time.monotonic() + TRUE_WITHIN_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def connected(client: httpx.Client) -> socket.socket:
    """Return a new connection with the service that a client asks."""
    address = client.base_url.host, client.base_url.port
    return socket.create_connection(address, timeout=TRUE_WITHIN_SECONDS)


def workers_of(client: httpx.Client) -> list[psutil.Process]:
    """Return the processes that answer a client, in the order in which they were started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # which zombies are to psutil, too
            is_worker = "_bentoml_impl.worker.service" in process.cmdline()
            held = process.net_connections("tcp") if is_worker else []
            if any(one.laddr.port == client.base_url.port for one in held):
                found.append(process)
    return sorted(found, key=psutil.Process.create_time)


def worker_that_said(answer: httpx.Response, workers: Sequence[psutil.Process]) -> psutil.Process:
    """Return the worker that has given an answer, on a connection that is still open."""
    return worker_at(answer.extensions["network_stream"].get_extra_info("client_addr")[1], workers)


def worker_at(port: int, workers: Sequence[psutil.Process]) -> psutil.Process:
    """Return the worker that has a connection with a port of this machine."""
    (found,) = (worker for worker in workers if port in ports_of(worker))
    return found


def ports_of(worker: psutil.Process) -> set[int]:
    return {held.raddr.port for held in worker.net_connections("tcp") if held.raddr}


def worker_of(client: httpx.Client) -> psutil.Process:
    """Return the process that answers a client, where it is the only one."""
    (worker,) = workers_of(client)
    return worker


def environment(home: Path) -> dict[str, str]:
    """Return an environment in which BentoML keeps everything in one folder."""
    return os.environ | {"BENTOML_HOME": str(home), "PYTHONPATH": str(ROOT)}


def run(command: list[str], env: dict[str, str]) -> str:
    """Run a command to its end, and return what it printed."""
    finished = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

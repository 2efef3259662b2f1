"""The service itself, started for a benchmark as a user starts it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import bentoml
import psutil
from bentoml.exceptions import NotFound

from bench.processes import HOST, free_port, is_ready, python, running
from serving.registry import TRAINING_COMMANDS

READY_WITHIN_SECONDS = 120


def require_model(name: str) -> None:
    """Go on if the store holds a model.

    Raises:
        SystemExit: It holds none, with a sentence that says what to run, and status 1.
    """
    try:
        bentoml.models.get(f"{name}:latest")
    except NotFound:
        sys.exit(f"The model store holds no {name!r}. Run `{TRAINING_COMMANDS[name]}` first.")


@contextmanager
def service(**environment: str) -> Iterator[tuple[str, psutil.Popen]]:
    """Serve the newest model, and give the address and the process once it is ready.

    Args:
        environment: Variables to add to this program's own.
    """
    port = free_port()
    command = python("bentoml", "serve", ".", "--host", HOST, "--port", str(port))
    quietly = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with running(command, environment=environment, **quietly) as process:
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while not is_ready(f"http://{HOST}:{port}/readyz"):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("The service did not become ready. `bentoml serve` says why.")
            time.sleep(0.1)
        yield f"{HOST}:{port}", process

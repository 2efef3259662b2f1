"""The service, started for a benchmark by `bentoml serve`, and the model that it needs."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from bench.processes import HOST, free_port, is_ready, python, running
from bento import store

READY_WITHIN_SECONDS = 120


def require_model(tag: str) -> store.StoredModel:
    """Return a model of the store, or end the program with a message that says how to train it.

    Args:
        tag: Its name, which stands for its newest version, or name:version.

    Raises:
        SystemExit: The store has none, or a damaged one.
    """
    try:
        return store.find(tag)
    except (store.NoSuchModelError, store.DamagedModelError) as error:
        sys.exit(f"{error} Run `python -m train {tag.partition(':')[0]}` first.")


@contextmanager
def service(**environment: str) -> Iterator[tuple[str, psutil.Popen]]:
    """Serve the newest models, and yield the address and the process once the service is ready.

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

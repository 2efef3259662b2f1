"""Fixtures: the service in a process of its own, and commands that end."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from tests.support.processes import environment, free_port, run, serving

Serve = Callable[..., AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Return a context manager that runs `bentoml serve` and gives a client of it."""
    return serving


@pytest.fixture(scope="module")
def port() -> int:
    """A port of this machine that nothing listens on."""
    return free_port()


@pytest.fixture(scope="session")
def service(store: Path, serve: Serve) -> Iterator[httpx.Client]:
    """A client of the service, running as a process of its own with the trained model."""
    with serve(store) as client:
        yield client


@pytest.fixture(scope="session")
def run_command() -> Callable[[list[str], Path], str]:
    """Return a function that runs a command with a BENTOML_HOME of its own."""
    return lambda command, home: run(command, env=environment(home))

"""Fixtures: a program that starts others, and what is left of them when it is interrupted."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.processes import READY_WITHIN_SECONDS, ROOT, environment

MARK = "STARTED_BY_TEST"  # in the environment of a benchmark, and so of all that it starts


@pytest.fixture
def start_benchmark(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a module as a program, with a BENTOML_HOME of its own and options."""
    started = []

    def start(module: str, home: Path, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", module, *options]
        marked = environment(home) | {MARK: str(tmp_path)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=ROOT, env=marked, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def still_running(tmp_path: Path) -> Callable[[], list[str]]:
    """Return a function that gives the command lines of all processes that a benchmark has started."""

    def running() -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get(MARK) == str(tmp_path)
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                pass
        return found

    return running


@pytest.fixture
def interrupt(still_running: Callable[[], list[str]]) -> Callable[..., None]:
    """Return a function that interrupts a benchmark once it is under way, and checks that nothing goes on."""

    def send(benchmark: subprocess.Popen[str], is_under_way: Callable[[list[str]], bool]) -> None:
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while not is_under_way(still_running()):
            assert benchmark.poll() is None
            assert time.monotonic() < deadline, still_running()
            time.sleep(0.2)
        benchmark.send_signal(signal.SIGINT)
        _, errors = benchmark.communicate()
        assert benchmark.returncode == 128 + signal.SIGINT
        assert "Traceback" not in errors
        assert still_running() == []

    return send

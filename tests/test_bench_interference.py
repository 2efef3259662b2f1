"""`python -m bench.interference`: its table, and that nothing it started is left over, however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parent.parent
MARK = "STARTED_BY_TEST"  # in the environment of the benchmark, and so of all that it starts
STARTED_WITHIN_SECONDS = 60


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts the benchmark with a store and options."""
    started = []

    def run(home: Path, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bench.interference", *options]
        environment = os.environ | {"BENTOML_HOME": str(home), MARK: str(tmp_path)}
        started.append(
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def running(mark: str) -> list[str]:
    """The command lines of all processes that were started under a mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            pass
    return found


def number_in(cell: str) -> float:
    return float(cell.removesuffix(" ms").replace(",", ""))


def test_the_table_shows_classify_alone_and_beside_drift(start, store, tmp_path):
    benchmark = start(store, "--seconds", "1", "--clients", "2", "--drift-clients", "0", "1")

    printed, _ = benchmark.communicate()

    assert benchmark.returncode == 0
    lines = [line for line in printed.splitlines() if line.startswith("│")]
    alone, beside = ([cell.strip() for cell in line.split("│")[1:-1]] for line in lines)
    for row, drift_clients in ((alone, "0"), (beside, "1")):
        median, p99, longest, per_second = map(number_in, row[2:6])
        assert row[:2] == ["2", drift_clients]
        assert 0 < median <= p99 <= longest
        assert per_second > 0
        assert row[6] == "0"
    assert alone[7:] == ["", ""]
    assert all(number_in(cell) > 0 for cell in beside[7:])
    assert running(str(tmp_path)) == []


def test_all_that_it_started_ends_with_it_when_it_is_interrupted(start, store, tmp_path):
    benchmark = start(store, "--drift-clients", "1")
    deadline = time.monotonic() + STARTED_WITHIN_SECONDS
    while sum("bench.load" in command for command in running(str(tmp_path))) < 2:
        assert benchmark.poll() is None
        assert time.monotonic() < deadline, running(str(tmp_path))
        time.sleep(0.2)

    benchmark.send_signal(signal.SIGINT)
    _, errors = benchmark.communicate()

    assert benchmark.returncode == 128 + signal.SIGINT
    assert "Traceback" not in errors
    assert running(str(tmp_path)) == []


def test_a_store_without_a_model_is_an_error_that_says_how_to_train_one(start, tmp_path):
    benchmark = start(tmp_path)

    _, errors = benchmark.communicate()

    assert benchmark.returncode == 1
    assert "python -m train mnist" in errors

"""The roll of workers: who is ready and alive is on it, whatever becomes of the others."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.workers import Roll

ROOT = Path(__file__).parent.parent
WORKER = """
import sys
from serving.workers import Roll
roll = Roll.inherit(int(sys.argv[1]))
roll.sign()
for line in sys.stdin:
    print(roll.why_not_ready, flush=True)
"""


@pytest.fixture
def start_worker() -> Iterator[Callable[[Roll, int], subprocess.Popen[str]]]:
    """Return a function that starts a worker, which signs, and says for each line how many miss."""
    started = []

    def start(roll: Roll, number: int) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(number)],
                cwd=ROOT,
                env=os.environ | roll.environment(),
                pass_fds=[roll.descriptor],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        worker.communicate()


def ask(worker: subprocess.Popen[str]) -> str:
    worker.stdin.write("?\n")
    worker.stdin.flush()
    return worker.stdout.readline().strip()


def test_workers_are_ready_once_all_have_signed_and_until_one_is_gone(start_worker):
    roll = Roll.create(2)
    first = start_worker(roll, 1)
    alone = ask(first)
    second = start_worker(roll, 4)  # one that replaces another may have such a number
    together = ask(second), ask(first), roll.why_not_ready

    second.kill()
    second.wait()
    without = ask(first)

    assert alone == "Workers that are not ready: 1 of 2."
    assert together == ("None", "None", None)
    assert without == alone


def test_who_has_signed_is_known_even_after_its_end(start_worker):
    roll = Roll.create(2)
    worker = start_worker(roll, 2)
    ask(worker)
    worker.kill()
    worker.wait()

    assert roll.has_seen(worker.pid)
    assert not roll.has_seen(os.getpid())


def test_a_worker_whose_starter_has_gone_before_it_looks_ends():
    program = (
        "import sys; from serving.workers import end_with_parent; end_with_parent(int(sys.argv[1])); input()"
    )
    with subprocess.Popen(["true"]) as gone:
        gone.wait()

    finished = subprocess.run(
        [sys.executable, "-c", program, str(gone.pid)],
        cwd=ROOT,
        check=False,
        stdin=subprocess.PIPE,
        timeout=60,
    )

    assert finished.returncode == -signal.SIGTERM


def test_a_process_that_nobody_started_as_a_worker_waits_for_none(monkeypatch):
    monkeypatch.delenv("DRIFTBENTO_ROLL", raising=False)

    assert Roll.inherit(1) is None
    assert Roll.inherit(None) is None

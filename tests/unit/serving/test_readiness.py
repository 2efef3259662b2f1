"""The readiness file: every worker knows which others are ready and alive."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.process.readiness import SILENT_AFTER_SECONDS, ReadinessFile
from tests.support.processes import wait_until

ROOT = Path(__file__).parents[3]
WORKER = """
import sys
from serving.process.readiness import ReadinessFile
readiness = ReadinessFile.inherit(int(sys.argv[1]))
if sys.argv[2] == "ready":
    readiness.mark_ready()
for line in sys.stdin:
    print(readiness.why_not_ready if readiness.is_ready else readiness.is_needed_unready(), flush=True)
"""


@pytest.fixture
def start_worker() -> Iterator[Callable[[ReadinessFile, int], subprocess.Popen[str]]]:
    """Return a function that starts a worker, which says for each line how many miss, or if it is needed."""
    started = []

    def start(readiness: ReadinessFile, number: int, state: str = "ready") -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(number), state],
                cwd=ROOT,
                env=os.environ | readiness.environment(),
                pass_fds=[readiness.descriptor],
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


def test_workers_are_ready_once_all_are_marked_so_and_until_one_is_gone(start_worker):
    readiness = ReadinessFile.create(2)
    first = start_worker(readiness, 1)
    alone = ask(first)
    second = start_worker(readiness, 4)  # one that replaces another may have such a number
    together = ask(second), ask(first), readiness.why_not_ready

    second.kill()
    second.wait()
    without = ask(first)

    assert alone == "Workers that are not ready: 1 of 2."
    assert together == ("None", "None", None)
    assert without == alone


def test_who_was_ready_is_known_even_after_its_end(start_worker):
    readiness = ReadinessFile.create(2)
    worker = start_worker(readiness, 2)
    ask(worker)
    worker.kill()
    worker.wait()

    assert readiness.last_sign_of(worker.pid) is not None
    assert readiness.last_sign_of(os.getpid()) is None


def test_a_worker_without_a_sign_of_life_is_not_ready(start_worker, monkeypatch):
    readiness = ReadinessFile.create(1)
    ask(start_worker(readiness, 1))
    now = time.monotonic()

    before = readiness.why_not_ready
    monkeypatch.setattr("serving.process.readiness.time.monotonic", lambda: now + SILENT_AFTER_SECONDS + 60)
    after = readiness.why_not_ready

    assert before is None
    assert after == "Workers that are not ready: 1 of 1."


def test_a_worker_that_is_not_ready_is_needed_only_where_no_other_one_is(start_worker):
    alone, with_one_like_it, with_a_better_one = (
        ReadinessFile.create(1),
        ReadinessFile.create(2),
        ReadinessFile.create(2),
    )

    like_it = start_worker(with_one_like_it, 2, "not ready")
    like_it.stdin.write("?\n")
    like_it.stdin.flush()
    ask(start_worker(with_a_better_one, 2))
    needed = [
        ask(start_worker(readiness, 1, "not ready"))
        for readiness in (alone, with_one_like_it, with_a_better_one)
    ]

    assert needed == ["True", "True", "False"]
    assert like_it.stdout.readline().strip() == "True"


def test_a_worker_that_is_not_ready_waits_for_those_that_may_be_yet(start_worker):
    readiness = ReadinessFile.create(2)
    waiting = start_worker(readiness, 1, "not ready")
    waiting.stdin.write("?\n")
    waiting.stdin.flush()
    wait_until(lambda: readiness.is_held(readiness.n_places + 1))

    before = readiness.last_sign_of(waiting.pid)
    ask(start_worker(readiness, 2))

    assert before is None
    assert waiting.stdout.readline().strip() == "False"


def test_a_worker_whose_starter_has_gone_before_it_looks_ends():
    program = (
        "import sys; from vision.libc import end_with_parent; end_with_parent(int(sys.argv[1])); input()"
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
    monkeypatch.delenv("DRIFTBENTO_READINESS", raising=False)

    assert ReadinessFile.inherit(1) is None
    assert ReadinessFile.inherit(None) is None

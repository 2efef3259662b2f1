"""The service when its clock is set."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.support.processes import worker_that_said
from tests.support.production import WITHIN_SECONDS, Service

# In the place of time.time in every process. libfaketime, which is closer to the system, breaks time.sleep.
SITECUSTOMIZE = """
import time
from pathlib import Path

offset, on_the_wall = Path({file!r}), time.time
time.time = lambda: on_the_wall() + float(offset.read_text())
"""


@pytest.fixture
def clock(tmp_path) -> tuple[dict[str, str], Callable[[float], None]]:
    """What to start a service with, and a function that sets its clock forth by some hours, or back."""
    file = tmp_path / "offset"

    def turn(hours: float) -> None:
        beside = file.with_suffix(".new")
        beside.write_text(str(3600 * hours))
        os.replace(beside, file)

    turn(0)
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE.format(file=str(file)))
    return {"PYTHONPATH": str(tmp_path)}, turn


def ask_each(service: Service, files: list) -> None:
    """Make drift tests until each worker has made one, and see after each that /metrics shows that one."""
    asked, deadline = set[int](), time.monotonic() + WITHIN_SECONDS
    while asked != {worker.pid for worker in service.workers}:
        with httpx.Client(base_url=service.client.base_url, timeout=60) as client:
            at = 2 + len(asked)
            answer = client.post("/drift", files=files[at : at + 32])
            asked.add(worker_that_said(answer, service.workers).pid)
            shown = client.get("/metrics").text
        assert answer.status_code == 200, answer.text
        score = answer.json()["score"]
        assert f'driftbento_drift_score{{detector="mmd",model="mnist"}} {score!r}' in shown
        assert time.monotonic() < deadline


def test_a_clock_that_is_set_back_and_forth_changes_nothing(start, clock, as_files, held_out):
    settings, turn = clock
    files = as_files(held_out.images[:100])

    with start(WORKERS="2", **settings) as service, ThreadPoolExecutor() as pool:
        ask_each(service, files)
        for hours in (-5, 5, -9600):
            under_way = pool.submit(service.client.post, "/drift", files=files * 8)
            turn(hours)
            ask_each(service, files)
            assert under_way.result().status_code == 200
        killed = service.workers[0]
        killed.kill()
        service.wait_for(lambda: not service.is_ready())
        service.wait_for(service.is_ready)
        workers = service.workers
        service.process.terminate()
        status = service.end()

    assert len(workers) == 2
    assert killed not in workers
    assert status == 0
    assert "Another one is started" in service.log.read_text()
    assert (datetime.now(UTC) - timedelta(hours=9600)).strftime("%Y-%m-") in service.log.read_text()

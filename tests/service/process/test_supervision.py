"""The process that starts the workers: who may give it commands, and what it does when one of them fails."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from bento.supervisor import CHECK_EVERY_SECONDS, HUNG_AFTER_CHECKS
from tests.support.processes import wait_until, worker_that_said
from tests.support.production import Service

CONTAINER = {"BENTOML_CONTAINERIZED": "true"}  # as BentoML's images have it


@pytest.fixture
def home(store, tmp_path) -> Path:
    """A BENTOML_HOME that a test may change."""
    shutil.copytree(store / "models", tmp_path / "home" / "models")
    return tmp_path / "home"


@contextmanager
def connected(service: Service) -> Iterator[httpx.Client]:
    """Give a client that makes a connection of its own, with whichever worker takes it."""
    with httpx.Client(base_url=service.client.base_url, timeout=60) as client:
        yield client


def models_by_worker(service: Service) -> dict[int, list]:
    """Return what each worker says of the models, by its process."""
    said = dict[int, list]()

    def ask() -> bool:
        with connected(service) as client:
            answer = client.get("/models")
            said[worker_that_said(answer, service.workers).pid] = answer.json()["models"]
        return said.keys() == {worker.pid for worker in service.workers}

    service.wait_for(ask)
    return said


def add_version(home: Path, name: str, version: str) -> None:
    """Give the store a model that is newer than all others, made of the one that it has."""
    newest = home / "models" / "mnist" / (home / "models" / "mnist" / "latest").read_text()
    new = home / "models" / name / version
    shutil.copytree(newest, new)
    facts = yaml.safe_load((new / "model.yaml").read_text())
    facts |= {"name": name, "version": version, "creation_time": "2100-01-01T00:00:00+00:00"}
    (new / "model.yaml").write_text(yaml.safe_dump(facts))
    (new.parent / "latest").write_text(version)


def replace_one(service: Service) -> None:
    """Kill a worker, and wait until there is another one."""
    killed = service.workers[0]
    killed.kill()
    service.wait_for(lambda: killed not in service.workers and service.is_ready())


def test_nobody_else_can_give_the_service_commands(start):
    """Its port is the only one that it listens on; what else it listens on, only its user can open."""
    with start() as service:
        family = [psutil.Process(service.process.pid), *service.workers]
        ports = {
            one.laddr.port
            for process in family
            for one in process.net_connections("inet")
            if one.type == socket.SOCK_DGRAM or one.status == psutil.CONN_LISTEN
        }
        files = {one.laddr for process in family for one in process.net_connections("unix") if one.laddr}
        folders = {Path(file).parent for file in files}
        modes = {folder: stat.S_IMODE(folder.stat().st_mode) for folder in folders}
        service.process.terminate()
        service.end()

    assert ports == {service.client.base_url.port}
    assert not [file for file in files if file.startswith("@")]  # which has no mode
    assert set(modes.values()) <= {0o700}
    assert not [folder for folder in folders if folder.exists()]


def test_a_worker_that_replaces_another_serves_the_same_models_whatever_has_come_into_the_store(start, home):
    with start(home=home, WORKERS="2") as service:
        (before,) = {json.dumps(said) for said in models_by_worker(service).values()}
        add_version(home, "mnist", "newer")
        add_version(home, "resnet", "new")
        replace_one(service)
        after = models_by_worker(service)

    assert {json.dumps(said) for said in after.values()} == {before}


def test_a_store_that_is_mended_while_the_service_runs_is_read_when_it_starts_again(start, home):
    """Until then all workers say the same of it, also one that replaces another."""
    latest = home / "models" / "mnist" / "latest"
    whole = latest.read_bytes()
    latest.write_bytes(b"\xff")

    with start(home=home, until_ready=False, WORKERS="2") as service:
        service.wait_for(service.readiness)
        (before,) = {json.dumps(said) for said in models_by_worker(service).values()}
        latest.write_bytes(whole)
        killed = service.workers[0]
        killed.kill()
        service.wait_for(lambda: killed not in service.workers and len(service.workers) == 2)
        after = models_by_worker(service)
    with start(home=home) as service:
        ready = service.readiness()

    assert {json.dumps(said) for said in after.values()} == {before}
    assert '"ready": false' in before
    assert ready.status_code == 200


def test_a_worker_that_cannot_load_its_model_takes_no_request_from_the_others_and_is_tried_again(
    start, home, as_files, held_out
):
    files = as_files(held_out.images[:1])
    (model,) = home.glob("models/mnist/*/model.pt")
    whole = model.read_bytes()

    with start(home=home, WORKERS="2") as service:
        os.truncate(model, 100)
        service.workers[0].kill()
        service.wait_for(lambda: "The others go on" in service.log.read_text())
        answers = [httpx.post(f"{service.client.base_url}/classify", files=files) for _ in range(40)]
        ready = service.readiness()
        model.write_bytes(whole)
        service.wait_for(service.is_ready)
        workers = service.workers

    assert {answer.status_code for answer in answers} == {200}
    assert ready.json()["detail"] == "Workers that are not ready: 1 of 2."
    assert len(workers) == 2
    assert "model.pt is damaged" in service.log.read_text()
    assert "Traceback" not in service.log.read_text()


def test_workers_that_are_not_ready_answer_until_another_one_is_and_then_are_replaced(start, home):
    (model,) = home.glob("models/mnist/*/model.pt")
    whole = model.read_bytes()
    os.truncate(model, 100)

    with start(home=home, until_ready=False, WORKERS="2") as service:
        service.wait_for(service.readiness)
        damaged = models_by_worker(service)
        model.write_bytes(whole)
        service.workers[0].kill()
        service.wait_for(service.is_ready)
        mended = models_by_worker(service)

    assert [model["ready"] for models in damaged.values() for model in models] == [False, False]
    assert [model["ready"] for models in mended.values() for model in models] == [True, True]
    assert not damaged.keys() & mended.keys()


def test_a_worker_that_hangs_is_noticed_and_replaced(start, as_files, held_out):
    files = as_files(held_out.images[:1])

    with start(WORKERS="2") as service:
        hung = service.workers[0]
        hung.suspend()
        service.wait_for(lambda: not service.is_ready())
        without_it = service.readiness()
        answer = httpx.post(f"{service.client.base_url}/classify", files=files)
        service.wait_for(service.is_ready)
        workers = service.workers

    assert without_it.json()["detail"] == "Workers that are not ready: 1 of 2."
    assert answer.status_code == 200
    assert len(workers) == 2
    assert hung not in workers
    assert f"Process {hung.pid} has shown no sign of life" in service.log.read_text()


def test_in_a_container_the_service_ends_when_its_worker_hangs(start):
    with start(**CONTAINER) as service:
        service.workers[0].suspend()
        status = service.end()

    assert status == 1
    assert "was killed by SIGKILL. The service ends." in service.log.read_text()


def test_a_machine_that_was_asleep_finds_its_workers_alive(start):
    """All processes have stood still, so that no worker has shown a sign of life for long."""
    with start(WORKERS="2") as service:
        workers = service.workers
        everybody = [*workers, psutil.Process(service.process.pid)]
        for process in everybody:
            process.suspend()
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > HUNG_AFTER_CHECKS * CHECK_EVERY_SECONDS + 5)
        for process in reversed(everybody):
            process.resume()
        service.wait_for(service.is_ready)
        still = service.workers

    assert still == workers


@pytest.mark.parametrize("surroundings", [{}, CONTAINER], ids=["anywhere", "in a container"])
def test_told_to_reload_the_service_replaces_its_workers_one_after_another_and_goes_on_answering(
    start, as_files, held_out, surroundings
):
    files = as_files(held_out.images[:8])
    seen = list[int]()

    def keep_asking() -> list[int]:
        statuses = []
        while not is_done:
            statuses += [httpx.post(f"{service.client.base_url}/classify", files=files).status_code]
        return statuses

    with start(WORKERS="2", **surroundings) as service, ThreadPoolExecutor() as pool:
        is_done = False
        before = service.workers
        asked = [pool.submit(keep_asking) for _ in range(2)]
        try:
            service.process.send_signal(signal.SIGHUP)
            service.wait_for(
                lambda: seen.append(service.readiness().status_code) or not {*before} & {*service.workers}
            )
        finally:
            is_done = True
        statuses = [status for future in asked for status in future.result()]
        service.wait_for(lambda: len(service.workers) == 2 and len(service.children) == 2)
        after, metrics = service.workers, service.client.get("/metrics").text
        held = sum(worker.memory_info().rss for worker in after)

    assert len(after) == 2
    assert not {*before} & {*after}
    assert set(statuses) == {200}
    assert set(seen) == {200}
    (said,) = re.findall(r"^driftbento_resident_memory_bytes (\S+)", metrics, re.MULTILINE)
    assert float(said) < 1.2 * held  # that of those that have ended is not counted


def test_the_service_stops_when_told_to_while_it_replaces_its_workers(start):
    with start() as service:
        service.process.send_signal(signal.SIGHUP)
        service.wait_for(lambda: len(service.workers) == 2)
        service.process.terminate()
        status = service.end()

    assert status == 0

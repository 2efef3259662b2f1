"""The service when a disk is full: that of its metrics, or that of its log."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.homes import on_small_disk, own_home

MIB = 2**20


@pytest.fixture
def small_disk(store, tmp_path) -> Callable[[str], dict[str, Any]]:
    """Return a function that says how to start a service whose BENTOML_HOME is a disk of some size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    link = shlex.join(["ln", "-s", str(store / "models"), str(folder)])
    return lambda size: {"home": folder, "under": on_small_disk(folder, size, link)}


def fill(folder: Path) -> None:
    """Leave no room on a disk."""
    with pytest.raises(OSError, match="No space left"):
        (folder / "filler").write_bytes(bytes(64 * MIB))
    assert shutil.disk_usage(folder).free == 0


def test_a_disk_that_fills_up_changes_no_answer_and_every_request_is_counted(
    start, small_disk, as_files, held_out
):
    files = as_files(held_out.images[:8])
    text = [("images", ("a.txt", b"hi", "text/plain"))]
    asked: list[tuple[str, str, dict[str, Any], int]] = [
        ("POST", "/classify", {"files": files}, 200),
        ("POST", "/classify", {"files": text}, 415),
        ("POST", "/classify", {}, 400),
        ("POST", "/drift", {"files": files}, 200),
        ("POST", "/drift", {"files": files, "data": {"detector": "ks"}}, 200),
        ("POST", "/drift", {"files": text}, 415),
        ("GET", "/models", {}, 200),
        ("GET", "/nowhere", {}, 404),
    ]
    disk = small_disk("8m")

    with start(**disk) as service:
        fill(Path(f"/proc/{service.process.pid}/root{disk['home']}"))
        workers = service.workers
        found = [service.client.request(verb, path, **rest).status_code for verb, path, rest, _ in asked]
        metrics = service.client.get("/metrics").text
        still = service.workers

    assert found == [status for *_, status in asked]
    assert still == workers
    assert 'driftbento_drift_tests_total{detector="mmd",model="mnist",result="no_drift"} 1.0' in metrics
    assert metrics.count('endpoint="/drift",http_response_code="200"') > 0


def test_all_that_a_worker_counts_has_its_room_from_the_start(
    start, store, tmp_path_factory, as_files, held_out
):
    home = own_home(store, tmp_path_factory)

    with start(home=home) as service:
        service.client.post("/classify", files=as_files(held_out.images[:1]))
        service.client.post("/drift", files=as_files(held_out.images[:2]))
        service.client.get("/metrics")
        (worker,) = service.workers
        files = list(home.glob(f"metrics/*/*_{worker.pid}.db"))
        room = {path.name: (path.stat().st_blocks * 512, path.stat().st_size) for path in files}
        worker.kill()
        service.wait_for(lambda: service.workers not in ([], [worker]) and service.is_ready())
        left = [path.stat().st_size for path in files if path.exists()]
        metrics = service.client.get("/metrics").text

    assert len(room) >= 6
    assert all(taken >= size for taken, size in room.values()), room
    assert sum(left) < 2**17  # of what a worker that died had, no more stays than it had used
    assert 'driftbento_drift_tests_total{detector="mmd",model="mnist",result="no_drift"} 1.0' in metrics


def test_a_worker_without_room_for_its_metrics_is_tried_again_and_the_others_go_on(
    start, small_disk, as_files, held_out
):
    disk = small_disk("8m")

    with start(WORKERS="2", **disk) as service:
        folder = Path(f"/proc/{service.process.pid}/root{disk['home']}")
        service.workers[0].kill()
        service.wait_for(lambda: "Another one is started" in service.log.read_text())
        fill(folder)
        service.wait_for(lambda: "The others go on" in service.log.read_text())
        answer = service.client.post("/classify", files=as_files(held_out.images[:1]))
        (folder / "filler").unlink()
        service.wait_for(service.is_ready)
        workers = service.workers

    assert answer.status_code == 200
    assert len(workers) == 2


def test_a_service_without_room_for_its_metrics_does_not_start_and_says_what_it_needs(start, small_disk):
    with start(until_ready=False, **small_disk("1m")) as service:
        status = service.end()

    assert status == 1
    assert "bytes for its metrics, and cannot have them (No space left on device)" in service.log.read_text()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_that_cannot_be_written_keeps_nobody_from_being_answered(start, as_files, held_out, log_format):
    files = as_files(held_out.images[:4])

    with start(under=["sh", "-c", 'exec "$@" >/dev/full 2>&1', "sh"], LOG_FORMAT=log_format) as service:
        workers = service.workers
        good = [service.client.post(path, files=files).status_code for path in ("/classify", "/drift")]
        bad = service.client.post("/classify", files={"images": ("a.txt", b"hi", "text/plain")})
        workers[0].kill()
        service.wait_for(lambda: service.workers not in ([], workers) and service.is_ready())
        again = service.client.post("/classify", files=files)
        service.process.terminate()
        status = service.end()

    assert good == [200, 200]
    assert bad.status_code == 415
    assert again.status_code == 200
    assert status == 0

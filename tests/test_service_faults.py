"""The service when what is around it fails: its model store, the disk, memory, the clock."""

import io
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image
from production import Service

PROBLEM = "application/problem+json"
OUT_OF_MEMORY = "urn:driftbento:problem:out-of-memory"
MIB = 2**20


@pytest.fixture
def home(store, tmp_path) -> Path:
    """A BENTOML_HOME whose models a test may damage."""
    shutil.copytree(store / "models", tmp_path / "home" / "models")
    return tmp_path / "home"


def file_of(home: Path, name: str) -> Path:
    (path,) = home.glob(f"models/mnist/*/{name}")
    return path


def cut(path: Path, share: float = 0.5) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def flip(path: Path) -> None:
    """Change a byte in the middle, which for a model's script is one of its weights."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        pytest.param("model.pt", cut, "model.pt is damaged or another model's", id="a script cut short"),
        pytest.param("model.pt", flip, "its checksum is not the one in model.yaml", id="one weight"),
        pytest.param("golden.safetensors", cut, "golden.safetensors is damaged", id="half the answers"),
        pytest.param("golden.safetensors", Path.unlink, "golden.safetensors is missing", id="no answers"),
        pytest.param(
            "golden.safetensors",
            lambda path: cut(path, 0.001),
            "golden.safetensors is damaged",
            id="no header",
        ),
        pytest.param("reference.safetensors", flip, "reference.safetensors is damaged", id="one number"),
        pytest.param(
            "labels.json", lambda path: path.write_text('["cat", "dog"]'), "10 names", id="another's names"
        ),
        pytest.param("model.yaml", lambda path: os.truncate(path, 0), "model.yaml of mnist", id="no facts"),
        pytest.param(
            "../latest", lambda path: path.write_bytes(b"\xff"), "latest version", id="no version's name"
        ),
    ],
)
def test_a_damaged_store_is_a_service_that_says_which_file_is_damaged_and_what_to_do(
    start, home, as_files, held_out, name, damage, says
):
    path = home / "models/mnist/latest" if name == "../latest" else file_of(home, name)
    damage(path)

    with start(home=home, until_ready=False) as service:
        service.wait_for(service.readiness)
        ready, alive = service.readiness(), service.client.get("/livez")
        answer = service.client.post("/classify", files=as_files(held_out.images[:1]))
        models = service.client.get("/models")

    assert (ready.status_code, alive.status_code, answer.status_code) == (503, 200, 503)
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["type"] == "urn:driftbento:problem:model-not-loaded"
    (model,) = models.json()["models"]
    assert not model["ready"]
    assert says in model["reason"]
    assert "train it again" in model["reason"]
    assert model["reason"] == ready.json()["detail"] == answer.json()["detail"]
    assert not any(str(home) in seen.text for seen in (ready, answer, models))


def test_what_is_loaded_goes_on_answering_when_its_files_are_emptied(start, home, as_files, held_out):
    files = as_files(held_out.images[:64])

    with start(home=home) as service:
        before = [service.client.post(path, files=files).json() for path in ("/classify", "/drift")]
        workers = service.workers
        for path in home.glob("models/mnist/*/*"):
            os.truncate(path, 0)
        after = [service.client.post(path, files=files) for path in ("/classify", "/drift")]
        still = service.workers

    assert [answer.json() for answer in after] == before
    assert still == workers


@pytest.fixture
def small_disk(store, tmp_path) -> Callable[[str], dict[str, Any]]:
    """Return a function that says how to start a service whose BENTOML_HOME is a disk of some size."""
    mount = 'mount -t tmpfs -o size="$1" tmpfs "$BENTOML_HOME" && ln -s "$2" "$BENTOML_HOME"'
    folder = tmp_path / "disk"
    folder.mkdir()

    def under(size: str) -> list[str]:
        command = [
            "unshare",
            "--mount",
            "--map-root-user",
            "sh",
            "-c",
            mount + ' && shift 2 && exec "$@"',
            "sh",
        ]
        return [*command, size, str(store / "models")]

    tried = subprocess.run(
        [*under("1m"), "true"],
        env=os.environ | {"BENTOML_HOME": str(folder)},
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip(f"needs to mount a tmpfs: {tried.stderr.decode().strip()}")
    return lambda size: {"home": folder, "under": under(size)}


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


def test_all_that_a_worker_counts_has_its_room_from_the_start(start, home, as_files, held_out):
    with start(home=home) as service:
        service.client.post("/classify", files=as_files(held_out.images[:1]))
        service.client.post("/drift", files=as_files(held_out.images[:2]))
        service.client.get("/metrics")
        (worker,) = service.workers
        files = list(home.glob(f"prometheus_multiproc_dir/*_{worker.pid}.db"))
        room = {path.name: (path.stat().st_blocks * 512, path.stat().st_size) for path in files}
        worker.kill()
        service.wait_for(lambda: service.workers not in ([], [worker]) and service.is_ready())
        left = [path.stat().st_size for path in files if path.exists()]
        metrics = service.client.get("/metrics").text

    assert len(room) >= 6
    assert all(taken >= size for taken, size in room.values()), room
    assert sum(left) < 2**17  # of what a worker that died had, no more stays than it had used
    assert 'driftbento_drift_tests_total{detector="mmd",model="mnist",result="no_drift"} 1.0' in metrics


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


@pytest.fixture(scope="module")
def large() -> bytes:
    """A picture that takes 200 MB of memory, and a hundred thousand bytes as a file."""
    stream = io.BytesIO()
    Image.new("RGB", (7000, 7000), "white").save(stream, "PNG")
    return stream.getvalue()


@contextmanager
def little_memory(worker: psutil.Process, more: int) -> Iterator[None]:
    """Let a process have some bytes more of memory than it has, and no others."""
    before = resource.prlimit(worker.pid, resource.RLIMIT_AS)
    resource.prlimit(worker.pid, resource.RLIMIT_AS, (worker.memory_info().vms + more, before[1]))
    try:
        yield
    finally:
        resource.prlimit(worker.pid, resource.RLIMIT_AS, before)


@pytest.mark.parametrize("path", ["/classify", "/drift"])
def test_a_picture_for_which_there_is_not_enough_memory_is_no_damaged_one_and_others_are_answered(
    start, as_files, held_out, large, path
):
    small = as_files(held_out.images[:4])
    mixed = [*small, ("images", ("large.png", large, "image/png"))]

    with start(CLASSIFY_THREADS="2") as service, ThreadPoolExecutor() as pool:
        before = service.client.post(path, files=small)
        (worker,) = service.workers
        with little_memory(worker, 100 * MIB):
            sent = [pool.submit(service.client.post, path, files=files) for files in [mixed, small] * 4]
            answers = [future.result() for future in sent]
        afterwards = service.client.post(path, files=mixed)
        workers = service.workers

    refused, answered = answers[::2], answers[1::2]
    assert [answer.json()["type"] for answer in refused] == [OUT_OF_MEMORY] * 4
    assert {(answer.status_code, answer.headers["content-type"]) for answer in refused} == {(503, PROBLEM)}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    # At that moment there may be nothing for a small one either.
    right = [answer.json() for answer in answered if answer.status_code == httpx.codes.OK]
    assert all(answer.json()["type"] == OUT_OF_MEMORY for answer in answered if not answer.is_success)
    assert right == [before.json()] * len(right)
    assert right
    assert afterwards.status_code == 200
    assert workers == [worker]


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
    asked = set[int]()
    while asked != {worker.pid for worker in service.workers}:
        with httpx.Client(base_url=service.client.base_url, timeout=60) as client:
            at = 2 + len(asked)
            answer = client.post("/drift", files=files[at : at + 32])
            asked.add(worker_of(service, answer).pid)
            shown = client.get("/metrics").text
        assert answer.status_code == 200, answer.text
        score = answer.json()["score"]
        assert f'driftbento_drift_score{{detector="mmd",model="mnist"}} {score!r}' in shown


def worker_of(service: Service, answer: httpx.Response) -> psutil.Process:
    """Return the worker that has answered, on a connection that is still open."""
    port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
    (found,) = (worker for worker in service.workers if port in ports_of(worker))
    return found


def ports_of(worker: psutil.Process) -> set[int]:
    return {held.raddr.port for held in worker.net_connections("tcp") if held.raddr}


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

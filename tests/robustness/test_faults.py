"""The service when what is around it fails: its model store, memory."""

import io
import json
import os
import resource
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

PROBLEM = "application/problem+json"
OUT_OF_MEMORY = "urn:driftbento:problem:out-of-memory"
MIB = 2**20
WITHIN_SECONDS = 60


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
            "reference.safetensors", Path.unlink, "reference.safetensors is missing", id="no reference"
        ),
        pytest.param(
            "labels.json",
            lambda path: path.write_text(json.dumps(list("9876543210"))),
            "labels.json is damaged or another model's",
            id="another's names",
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


@pytest.fixture(scope="module")
def large() -> bytes:
    """A picture that takes 200 MB of memory, and a hundred thousand bytes as a file."""
    stream = io.BytesIO()
    image = Image.new("RGB", (7000, 7000), "white")
    image.paste("black", (3300, 1500, 3800, 5500))  # something like a 1
    image.save(stream, "PNG")
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


def ask_until_answered(client: httpx.Client, path: str, files: list) -> list[httpx.Response]:
    """Send files again as long as there is no memory for them, as the answer says; return all answers."""
    answers = [client.post(path, files=files)]
    deadline = time.monotonic() + WITHIN_SECONDS
    while answers[-1].status_code == httpx.codes.SERVICE_UNAVAILABLE and time.monotonic() < deadline:
        answers.append(client.post(path, files=files))
    return answers


@pytest.mark.parametrize("path", ["/classify", "/drift"])
def test_a_picture_for_which_there_is_not_enough_memory_is_no_damaged_one_and_others_are_answered(
    start, as_files, held_out, large, path
):
    small = as_files(held_out.images[:4])
    mixed = [*small, ("images", ("large.png", large, "image/png"))]

    with start(CLASSIFY_THREADS="2") as service, ThreadPoolExecutor() as pool:
        before = service.client.post(path, files=small)
        (worker,) = service.workers
        (decoder,) = worker.children()
        with little_memory(worker, 100 * MIB), little_memory(decoder, 100 * MIB):
            too_large = [pool.submit(service.client.post, path, files=mixed) for _ in range(4)]
            others = [pool.submit(ask_until_answered, service.client, path, small) for _ in range(4)]
            refused = [future.result() for future in too_large]
            answered = [future.result() for future in others]
        afterwards = service.client.post(path, files=mixed)
        workers = service.workers

    assert [answers[-1].json() for answers in answered] == [before.json()] * 4
    # Where the large ones are just then decoded, there may be nothing for a small one either.
    refused += [answer for answers in answered for answer in answers[:-1]]
    assert {answer.json()["type"] for answer in refused} == {OUT_OF_MEMORY}
    assert {(answer.status_code, answer.headers["content-type"]) for answer in refused} == {(503, PROBLEM)}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert afterwards.status_code == 200
    assert workers == [worker]

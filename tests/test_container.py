"""The image: started as production starts it, and asked from outside. $IMAGE names it; .ci/run builds one."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image, ImageFilter

ENGINE = next((engine for engine in ("docker", "podman") if shutil.which(engine)), "docker")
ENGINE = os.environ.get("ENGINE", ENGINE)
READY_WITHIN_SECONDS = 60

pytestmark = pytest.mark.skipif("IMAGE" not in os.environ, reason="needs an image, named by $IMAGE")


def engine(*arguments: str) -> str:
    command = [ENGINE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    """A running container of the image, by its id."""
    name = engine("run", "--detach", "--publish", "127.0.0.1::3000", os.environ["IMAGE"])
    yield name
    engine("rm", "--force", name)


@pytest.fixture(scope="module")
def client(container) -> Iterator[httpx.Client]:
    address = engine("port", container, "3000").splitlines()[0]
    started = time.monotonic()
    with httpx.Client(base_url=f"http://{address}", timeout=60) as client:
        while True:
            try:
                if client.get("/readyz").is_success:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < started + READY_WITHIN_SECONDS, engine("logs", container)
            time.sleep(0.1)
        print(f"ready after {time.monotonic() - started:.1f} s")
        yield client


def test_the_container_classifies_digits(client, as_files, held_out):
    answer = client.post("/classify", files=as_files(held_out.images)).json()

    right = [
        result["class_id"] == label
        for result, label in zip(answer["results"], held_out.labels.tolist(), strict=True)
    ]
    assert sum(right) >= 0.97 * len(held_out)


def test_the_container_tells_drift_from_no_drift(client, as_files, held_out):
    digits = held_out.images[:128]
    blurred = [
        np.asarray(Image.fromarray(digit.numpy()).filter(ImageFilter.GaussianBlur(2))) for digit in digits
    ]

    assert client.post("/drift", files=as_files(digits)).json()["p_value"] > 0.01
    assert client.post("/drift", files=as_files(blurred)).json()["p_value"] == 0.001


def test_the_container_answers_a_bad_request_with_a_problem(client):
    answer = client.post("/classify", files={"images": ("a.png", b"?", "image/png")})

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_container_does_not_run_as_root(container, client):
    assert engine("exec", container, "id", "-u") != "0"


def test_the_container_holds_the_versions_of_the_lock(container, client, locked_versions):
    installed = dict(
        line.split("==") for line in engine("exec", container, "uv", "pip", "freeze").splitlines()
    )

    assert installed == locked_versions

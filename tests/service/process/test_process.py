"""The service as a process: its settings, its workers, and what it does with a wrong model."""

import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

PROBLEM = "application/problem+json"
WITHIN_SECONDS = 60  # on a busy machine; it takes none


def test_limits_are_set_by_the_environment(store, serve, as_files, held_out):
    limits = {"MAX_IMAGES": "3", "MAX_BODY_BYTES": "20000", "MAX_PIXELS": "1000", "MAX_SIDE": "100"}
    large = {"images": ("large.png", bytes(30_000), "image/png")}

    with serve(store, **limits) as client:
        too_many = client.post("/classify", files=as_files(held_out.images[:4]))
        too_large = client.post("/classify", files=large)
        too_fine = client.post("/classify", files=as_files([np.zeros((40, 40), np.uint8)]))
        too_long = client.post("/classify", files=as_files([np.zeros((5, 101), np.uint8)]))
        within = client.post("/classify", files=as_files(held_out.images[:3]))

    refused = (too_many, too_large, too_fine, too_long)
    assert [answer.status_code for answer in refused] == [413] * 4
    assert within.status_code == 200
    assert "more than 3 files" in too_many.json()["detail"]
    assert "at most 20,000" in too_large.json()["detail"]
    assert "at most 1,000" in too_fine.json()["detail"]
    assert "at most 100 on each side" in too_long.json()["detail"]


def test_what_is_loaded_is_no_longer_looked_through_for_garbage(store, run_command):
    """A collection of everything that is imported and loaded stops the service for 150 ms."""
    code = "import gc, service; service.DriftBento.inner(); print(gc.get_freeze_count())"

    frozen = run_command([sys.executable, "-c", code], store)

    assert int(frozen.split()[-1]) > 100_000


def test_models_are_loaded_with_as_many_threads_as_they_will_have(store, run_command):
    """What is faster, and what is compiled, depends on it."""
    code = """
import os
os.environ["TORCH_THREADS"] = "3"
import service, vision.models.classifier, torch
load = vision.models.classifier.load_classifier
def load_noted(*arguments, **options):
    print("threads:", torch.get_num_threads())
    return load(*arguments, **options)
vision.models.classifier.load_classifier = load_noted
service.DriftBento.inner()
"""

    printed = run_command([sys.executable, "-c", code], store)

    assert "threads: 3" in printed


def test_several_workers_give_the_same_answers(store, serve, as_files, held_out):
    files = as_files(held_out.images[:32])

    with serve(store, WORKERS="2") as client, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.post("/drift", files=files).json(), range(16)))

    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["n_batch"] == 32


def test_a_client_that_leaves_in_the_middle_of_its_request_is_no_defect(store, serve):
    beginning = (
        b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )

    with serve(store) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
            connection.sendall(beginning)
        deadline = time.monotonic() + WITHIN_SECONDS
        while 'endpoint="/classify",http_response_code=' not in (metrics := client.get("/metrics").text):
            assert time.monotonic() < deadline, metrics
            time.sleep(0.05)

    assert 'endpoint="/classify",http_response_code="400"' in metrics
    assert 'http_response_code="500"' not in metrics


def test_a_model_that_fails_its_golden_check_is_not_served_and_the_log_says_by_how_much(
    store, tmp_path, serve, copy_store, spoil_golden, as_files, held_out
):
    home = copy_store(store, tmp_path / "home")
    spoil_golden(home)

    with serve(home, ready="/livez", log=tmp_path / "log") as client:
        answer = client.post("/classify", files=as_files(held_out.images[:1]))
        ready = client.get("/readyz")
        (model,) = client.get("/models").json()["models"]

    assert (answer.status_code, ready.status_code) == (503, 503)
    assert not model["ready"]
    assert "off by" in model["reason"]
    assert model["reason"] in (tmp_path / "log").read_text()

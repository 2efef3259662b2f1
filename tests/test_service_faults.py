"""The service when what is around it fails: its model store, the disk, memory, the clock."""

import io
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest
from PIL import Image

PROBLEM = "application/problem+json"
OUT_OF_MEMORY = "urn:driftbento:problem:out-of-memory"
MIB = 2**20


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
    assert [answer.json() for answer in answered] == [before.json()] * 4
    assert afterwards.status_code == 200
    assert workers == [worker]

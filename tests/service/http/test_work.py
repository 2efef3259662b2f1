"""The work for a request ends where its client has left or its time is over, and keeps nobody waiting."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.support.long_work import in_queue, raw_request
from tests.support.processes import connected, wait_until, worker_of


@pytest.fixture(scope="module")
def usual(store, serve) -> Iterator[httpx.Client]:
    """A client of a service without settings, which nobody else asks."""
    with serve(store) as client:
        yield client


@pytest.fixture(scope="module")
def quick(store, serve) -> Iterator[httpx.Client]:
    """A client of a service that has three seconds for each request."""
    with serve(store, TIMEOUT_SECONDS="3") as client:
        yield client


def is_idle(worker: psutil.Process) -> bool:
    """Whether a process uses next to nothing of a processor."""
    before = sum(worker.cpu_times()[:2])
    time.sleep(0.5)
    return sum(worker.cpu_times()[:2]) - before < 0.1


def test_clients_that_leave_while_they_wait_take_their_files_with_them(usual, long_work):
    """Of 60 MB each."""
    large = {"files": [("images", ("x", bytes(60_000_000)))]}
    worker = worker_of(usual)
    wait_until(lambda: in_queue(usual, "/drift") == 0)
    with connected(usual) as at_work:
        at_work.sendall(raw_request(usual, "/drift", long_work))
        wait_until(lambda: in_queue(usual, "/drift") == 1)
        before = worker.memory_info().rss
        for _ in range(8):
            with connected(usual) as waiting:
                waiting.sendall(raw_request(usual, "/drift", large))
                wait_until(lambda: in_queue(usual, "/drift") == 2)
            wait_until(lambda: in_queue(usual, "/drift") == 1)
        after = worker.memory_info().rss

    assert after - before < 200_000_000


def test_the_work_for_a_client_that_leaves_is_not_done(usual, long_work, as_files, held_out):
    worker = worker_of(usual)
    wait_until(lambda: in_queue(usual, "/drift") == 0)
    with connected(usual) as connection:
        connection.sendall(raw_request(usual, "/drift", long_work))
        wait_until(lambda: in_queue(usual, "/drift") == 1)
    left = time.monotonic()
    wait_until(lambda: in_queue(usual, "/drift") == 0)
    wait_until(lambda: is_idle(worker))
    took = time.monotonic() - left
    next_ = usual.post("/drift", files=as_files(held_out.images[:32]))

    assert took < 10  # of some 30
    assert next_.json()["n_batch"] == 32


@pytest.mark.parametrize("path", ["/classify", "/drift"])
def test_the_work_of_a_request_ends_when_its_time_does(quick, long_work, path):
    worker = worker_of(quick)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(quick.post, path, **long_work)
        wait_until(lambda: in_queue(quick, path) == 1)
        answer = asked.result()
        answered_at = time.monotonic()
        wait_until(lambda: is_idle(worker))
        took = time.monotonic() - answered_at

    assert answer.status_code == 504
    assert took < 10  # of some 30


def test_what_one_endpoint_is_asked_too_much_keeps_nobody_from_the_other(
    store, serve, long_work, as_files, held_out
):
    with serve(store, MAX_QUEUE="1") as client, connected(client) as connection:
        connection.sendall(raw_request(client, "/drift", long_work))
        wait_until(lambda: in_queue(client, "/drift") == 1)
        refused = client.post("/drift", files=as_files(held_out.images[:2]))
        classified = client.post("/classify", files=as_files(held_out.images[:1]))

    assert refused.status_code == 429
    assert refused.headers["retry-after"]
    assert classified.status_code == 200

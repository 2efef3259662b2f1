"""Clients that are slow, or leave, or do not speak HTTP: what becomes of them, and that others are served."""

import json
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest

from serving.process.connection import MAX_PIPELINED
from tests.support.long_work import in_queue, raw_request
from tests.support.processes import connected, ports_of, wait_until, worker_of

PROBLEM = b"content-type: application/problem+json"
WITHIN_SECONDS = 60  # on a busy machine
HEAD = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
BEGUN = HEAD + b"Content-Length: 100000\r\n\r\n--x\r\n"
QUICK = b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = QUICK[:-2] + b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def impatient(store, serve, copy_store, tmp_path_factory) -> Iterator[httpx.Client]:
    """A client of a service that waits for a second and a half for what is still to come.

    It has a home of its own, where no other service empties its metrics.
    """
    home = copy_store(store, tmp_path_factory.mktemp("impatient") / "home")
    with serve(home, READ_TIMEOUT_SECONDS="1.5") as client:
        yield client


def answer_to(client: httpx.Client, *pieces: bytes) -> bytes:
    """Return all that comes back until the service closes the connection."""
    with connected(client) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return rest_of(connection)


def rest_of(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def problem_in(answer: bytes) -> dict:
    """Return the problem document that is the whole of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert PROBLEM in head.lower()
    return json.loads(body)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process hold some two thousand files and connections at a time, where it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 2000 if hard == resource.RLIM_INFINITY else min(2000, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_connections_over_which_nothing_comes_are_closed_and_keep_nobody_out(
    store, serve, many_files, as_files, held_out
):
    patient = {"READ_TIMEOUT_SECONDS": "5", "MAX_CONNECTIONS": "1500"}
    with serve(store, **patient) as client, ExitStack() as stack:
        worker = worker_of(client)
        idle = [stack.enter_context(connected(client)) for _ in range(1000)]
        for half_open in idle[::2]:
            half_open.sendall(HEAD)
        wait_until(lambda: {one.getsockname()[1] for one in idle} <= ports_of(worker))
        classified = client.post("/classify", files=as_files(held_out.images[:1]))
        silent = rest_of(idle[1])
        begun = rest_of(idle[0])

        assert classified.json()["results"][0]["label"] == str(int(held_out.labels[0]))
        assert silent == b""
        assert problem_in(begun)["status"] == 408
        assert "headers" in problem_in(begun)["detail"]
        assert all(rest_of(one) == b"" for one in idle[3::2])
        assert all(problem_in(rest_of(one))["status"] == 408 for one in idle[2::2])


def test_connections_over_the_limit_are_closed_at_once_and_the_others_stay(store, serve):
    with serve(store, MAX_CONNECTIONS="5") as client, ExitStack() as stack:
        worker = worker_of(client)
        client.close()
        held = [stack.enter_context(connected(client)) for _ in range(5)]
        wait_until(lambda: {one.getsockname()[1] for one in held} <= ports_of(worker))
        with connected(client) as one_more:
            try:
                closed = one_more.recv(1)
            except ConnectionResetError:
                closed = b""
        still = answered(held[0])

    assert closed == b""
    assert still


def answered(connection: socket.socket) -> bool:
    connection.sendall(QUICK)
    return connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_body_that_does_not_come_is_a_problem_of_its_client(impatient):
    answer = answer_to(impatient, BEGUN)

    assert answer.startswith(b"HTTP/1.1 408")
    assert problem_in(answer)["type"] == "urn:driftbento:problem:too-slow-client"


def test_a_body_that_comes_drop_by_drop_ends_when_the_time_of_a_request_does(store, serve):
    with (
        serve(store, TIMEOUT_SECONDS="2", READ_TIMEOUT_SECONDS="1") as client,
        connected(client) as connection,
    ):
        connection.sendall(BEGUN)
        connection.settimeout(0.2)
        answer = b""
        began = time.monotonic()
        while not answer and time.monotonic() - began < WITHIN_SECONDS:
            connection.sendall(b"-")
            with suppress(TimeoutError):
                answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 504")


@pytest.mark.parametrize(
    ("pieces", "status", "says"),
    [
        pytest.param([b"Good morning!\r\n\r\n"], 400, "not an HTTP request", id="no HTTP"),
        pytest.param([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], 400, "not an HTTP request", id="TLS"),
        pytest.param(
            [HEAD + b"X-Long: ", b"x" * 100_000, b"\r\n\r\n"], 431, "65,536 bytes", id="a long header"
        ),
        pytest.param(
            [HEAD, *[b"X-%d: y\r\n" % number for number in range(300)], b"\r\n"],
            431,
            "200 headers",
            id="many headers",
        ),
        pytest.param(
            [HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", *[b"x" * 9_000] * 100],
            431,
            "65,536",
            id="an endless header after the body",
        ),
        pytest.param([b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n"], 431, "65,536", id="a long address"),
        pytest.param([HEAD, b"X-Endless: ", *[b"x" * 9_000] * 100], 431, "65,536", id="an endless header"),
        pytest.param(
            [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\n--x\r\n\r\nzz\r\n"],
            400,
            "not an HTTP request",
            id="damaged chunks",
        ),
        pytest.param(
            [HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
            400,
            "not an HTTP request",
            id="two lengths",
        ),
    ],
)
def test_what_is_no_http_is_a_problem_document_too(impatient, pieces, status, says):
    answer = answer_to(impatient, *pieces)

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert problem_in(answer)["status"] == status
    assert says in problem_in(answer)["detail"]


@pytest.mark.parametrize(
    ("behind", "least"),
    [
        pytest.param(QUICK * (MAX_PIPELINED - 1) + LAST, 1 + MAX_PIPELINED, id="as many as may wait"),
        pytest.param(QUICK * MAX_PIPELINED + LAST, 1, id="one more"),
        pytest.param(QUICK * 1000, 1, id="a thousand"),
    ],
)
def test_of_the_requests_behind_one_in_progress_no_more_are_answered_than_may_wait(
    impatient, long_work, behind, least
):
    seconds_of_work = {"files": long_work["files"][:100]}
    with connected(impatient) as connection:
        connection.sendall(raw_request(impatient, "/drift", seconds_of_work))
        wait_until(lambda: in_queue(impatient, "/drift") == 1)
        connection.sendall(behind)
        answer = rest_of(connection)

    assert least <= answer.count(b"HTTP/1.1 200") <= 1 + MAX_PIPELINED


def test_a_long_content_type_takes_no_time(impatient):
    """To take this one apart took five seconds, in which nobody else was answered."""
    began = time.monotonic()
    answers = [
        impatient.post(
            "/classify",
            content=b"x",
            headers={"content-type": 'multipart/form-data; boundary="' + ";" * 60_000},
        )
        for _ in range(5)
    ]
    took = time.monotonic() - began

    assert {answer.status_code for answer in answers} == {400}
    assert "60,031 characters" in answers[0].json()["detail"]
    assert took < 5


def test_garbage_after_a_request_is_not_taken_for_its_answer(impatient):
    answer = answer_to(impatient, QUICK + b"garbage\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1


def test_what_slow_clients_send_is_held_within_bounds_and_given_back(store, serve, as_files, held_out):
    begun = HEAD + b"Content-Length: 900000\r\n\r\n--x\r\n"
    part = b'Content-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
    files = as_files(held_out.images[:400])
    with serve(store, MAX_HELD_BYTES="1000000", MAX_BODY_BYTES="950000") as client:
        with connected(client) as connection:
            connection.sendall(begun + part + bytes(899_000))
            wait_until(lambda: client.post("/classify", files=files).status_code == 429)
            within = client.post("/classify", files=files[:1])
        wait_until(lambda: client.post("/classify", files=files).status_code == 200)

    assert within.status_code == 200

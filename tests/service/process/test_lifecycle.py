"""The service as production runs it: it loses workers, is told to stop, and says so in its log."""

import http.client
import json
import math
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
import psutil

from tests.support.production import WITHIN_SECONDS, Service

PROBLEM = "application/problem+json"
CONTAINER = {"BENTOML_CONTAINERIZED": "true"}  # as BentoML's images have it


class Upload:
    """A request of which a client has sent all but the end."""

    def __init__(self, service: Service, files: list) -> None:
        url = service.client.base_url
        request = httpx.Request("POST", url.join("/classify"), files=files)
        body = request.read()
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        self.rest = body[-100:]
        self.connection = socket.create_connection((url.host, url.port), timeout=WITHIN_SECONDS)
        self.connection.sendall(f"POST /classify HTTP/1.1\r\n{head}\r\n".encode() + body[:-100])
        service.wait_for(lambda: self.worker_of(service))

    def worker_of(self, service: Service) -> psutil.Process | None:
        """The worker that has taken the connection, once one has."""
        port = self.connection.getsockname()[1]
        for worker in service.workers:
            if any(held.raddr and held.raddr.port == port for held in worker.net_connections("tcp")):
                return worker
        return None

    def finish(self) -> bytes:
        """Send the end, and return what comes back until the service closes the connection."""
        self.connection.sendall(self.rest)
        return self.answer()

    def answer(self) -> bytes:
        with self.connection:
            return b"".join(iter(lambda: self.connection.recv(65536), b""))


def test_a_service_in_production_replaces_a_worker_and_stops_when_told_to_with_everybody_answered(
    start, as_files, held_out
):
    drift = as_files(held_out.images[:200]) * 5  # which takes seconds
    with start(WORKERS="2", GRACE_SECONDS="60", LOG_FORMAT="json") as service, ThreadPoolExecutor() as pool:
        bad = service.client.post("/classify", content=b"?", headers={"content-type": "text/plain"})
        service.wait_for(lambda: '"status": 415' in service.log.read_text())
        killed = service.workers[0]
        killed.kill()
        service.wait_for(lambda: not service.is_ready())
        without_it, alive = service.readiness(), service.client.get("/livez")
        service.wait_for(service.is_ready)
        workers = service.workers
        service.wait_for(
            lambda: len(service.children) == 2
        )  # the worker and the child that ended are no more

        held = sum(worker.memory_info().rss for worker in workers)
        (said,) = re.findall(r"^driftbento_resident_memory_bytes (\S+)", metrics_of(service), re.MULTILINE)

        idle = socket.create_connection((service.client.base_url.host, service.client.base_url.port))
        upload = Upload(service, as_files(held_out.images[:4]))
        drifts = [pool.submit(service.client.post, "/drift", files=drift) for _ in range(4)]
        service.wait_for(lambda: in_progress(service) >= 5)
        service.process.send_signal(signal.SIGTERM)
        with idle:
            closed = idle.recv(1)
        service.wait_for(lambda: service.readiness() is None)
        answers = [future.result() for future in drifts]
        classified = upload.finish()
        status = service.end()

    assert bad.status_code == 415
    assert (without_it.status_code, without_it.headers["content-type"]) == (503, PROBLEM)
    assert without_it.json()["detail"] == "Workers that are not ready: 1 of 2."
    assert alive.status_code == 200
    assert len(workers) == 2
    assert killed not in workers
    assert float(said) < 1.2 * held  # that of the one that died is not counted
    assert closed == b""
    assert [answer.status_code for answer in answers] == [200] * 4
    assert classified.startswith(b"HTTP/1.1 200 OK")
    assert status == 0
    check_log(service, killed.pid)


def metrics_of(service: Service) -> str:
    return service.client.get("/metrics").text


def in_progress(service: Service) -> int:
    """Return how many requests the service says are in progress, in all its workers together."""
    lines = metrics_of(service).splitlines()
    counts = [line for line in lines if line.startswith("bentoml_service_request_in_progress{")]
    return sum(int(float(line.rpartition(" ")[2])) for line in counts if "metrics" not in line)


def check_log(service: Service, killed: int) -> None:
    records = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert all({"time", "level", "logger", "message", "process"} <= record.keys() for record in records)
    assert all(datetime.fromisoformat(record["time"]).utcoffset() == timedelta(0) for record in records)
    assert len({record["process"] for record in records}) == 4  # that of the parent, and three workers
    (refused,) = [record for record in records if record.get("status") == 415]
    assert (refused["level"], refused["method"], refused["path"]) == ("INFO", "POST", "/classify")
    assert refused["client"].startswith("127.0.0.1:")
    assert refused["bytes"] > 0
    assert refused["milliseconds"] > 0
    (lost,) = [record["message"] for record in records if record["level"] == "ERROR"]
    assert lost == f"Worker 1 (process {killed}) was killed by SIGKILL. Another one is started."
    assert any(record["message"].startswith("Stopping") for record in records)


def test_in_a_container_the_other_workers_finish_and_the_service_ends_when_one_dies(
    start, as_files, held_out
):
    with start(WORKERS="2", **CONTAINER) as service:
        upload = Upload(service, as_files(held_out.images[:4]))
        (other,) = [worker for worker in service.workers if worker != upload.worker_of(service)]
        other.kill()
        service.wait_for(lambda: not service.is_ready())
        began = time.monotonic()
        service.wait_for(lambda: service.readiness() is None)
        refused_after = time.monotonic() - began
        classified = upload.finish()
        status = service.end()

    assert classified.startswith(b"HTTP/1.1 200 OK")
    assert status == 1
    assert refused_after < 5
    assert f"(process {other.pid}) was killed by SIGKILL. The service ends." in service.log.read_text()


def test_workers_do_not_outlive_the_process_that_started_them(start):
    with start(WORKERS="2") as service:
        workers = service.workers
        service.process.kill()
        _, alive = psutil.wait_procs(workers, timeout=WITHIN_SECONDS)

    assert len(workers) == 2
    assert alive == []


def test_in_a_container_the_service_ends_when_its_only_worker_dies(start):
    with start(**CONTAINER) as service:
        service.workers[0].kill()
        status = service.end()

    assert status == 1
    assert "The service ends." in service.log.read_text()
    assert "Traceback" not in service.log.read_text()


def test_a_worker_that_cannot_start_is_not_tried_again_and_the_log_says_why(start):
    with start(until_ready=False, TORCH_THREADS=str(2**70), LOG_FORMAT="json") as service:
        status = service.end()

    assert status == 1
    records = [json.loads(line) for line in service.log.read_text().splitlines()]
    (lost,) = [record["message"] for record in records if record["message"].startswith("Worker")]
    assert lost.endswith("ended with status 3 before it was ready. The service ends.")
    assert any("set_num_threads" in record.get("traceback", "") for record in records)


def test_a_request_that_never_ends_does_not_keep_the_service_from_ending(start, as_files, held_out):
    with start(GRACE_SECONDS="1") as service:
        upload = Upload(service, as_files(held_out.images[:1]))
        began = time.monotonic()
        service.process.send_signal(signal.SIGINT)
        answer = upload.answer()
        status = service.end()
        took = time.monotonic() - began

    assert answer.startswith(b"HTTP/1.1 503")
    assert b"urn:driftbento:problem:stopping" in answer
    assert status == 0
    assert 1 < took < 8
    assert "Traceback" not in service.log.read_text()


@dataclass
class Taken:
    """A request that the service reads, as it has said with 100 Continue: since when, and what came of it."""

    at: float
    answered_at: float = math.inf
    status: int | None = None


def keep_sending(request: httpx.Request, taken: list[Taken]) -> None:
    """Send a request again and again, over one connection as long as that holds, until nobody listens."""
    address, body = (request.url.host, request.url.port), request.read()
    lines = [f"POST {request.url.path} HTTP/1.1", "Expect: 100-continue"]
    head = "\r\n".join([*lines, *(": ".join(header) for header in request.headers.items()), "", ""]).encode()
    with suppress(ConnectionError):  # which is how a client learns that nobody listens any more
        while True:
            with socket.create_connection(address, timeout=WITHIN_SECONDS) as connection:
                while is_taken(connection, head):
                    one = Taken(time.monotonic())
                    taken.append(one)
                    one.status = answer_of(connection, body)
                    one.answered_at = time.monotonic()


def is_taken(connection: socket.socket, head: bytes) -> bool:
    """Begin a request, unless the service has closed the connection after the one before."""
    due = b"HTTP/1.1 100 Continue\r\n\r\n"
    try:
        connection.sendall(head)
        said = connection.recv(len(due), socket.MSG_WAITALL)
    except ConnectionError:
        return False
    assert said in {due, b""}
    return said == due


def answer_of(connection: socket.socket, body: bytes) -> int | None:
    """Return the status of the answer to a request, or None where the connection is cut."""
    try:
        connection.sendall(body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.read()
    except (ConnectionError, http.client.HTTPException):
        return None
    return answer.status


def test_of_clients_that_keep_sending_while_the_service_stops_none_is_cut_off(start, as_files, held_out):
    """One whose request the service has taken gets its answer; others find nobody who takes theirs."""
    taken = list[Taken]()

    with start(WORKERS="2", GRACE_SECONDS="60") as service, ThreadPoolExecutor(8) as pool:
        request = httpx.Request(
            "POST", service.client.base_url.join("/drift"), files=as_files(held_out.images[:32])
        )
        clients = [pool.submit(keep_sending, request, taken) for _ in range(8)]
        service.wait_for(lambda: sum(one.status is not None for one in taken) >= 16)
        signalled_at = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        status = service.end()
        for client in clients:
            client.result(WITHIN_SECONDS)

    in_flight = [one for one in taken if one.at < signalled_at < one.answered_at]
    print(f"{len(taken)} requests were taken, of which {len(in_flight)} were in flight at the signal.")
    assert status == 0
    assert {one.status for one in taken} == {200}
    assert len(in_flight) > 0
    assert "Traceback" not in service.log.read_text()

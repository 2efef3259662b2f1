"""The document and the statuses that fuzzing does not provoke: each, where it can be had, is as it says."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import jsonschema
import pytest

from bench.malformed.kinds import FORM_TYPE, request
from bench.questions import upload
from bench.wire import Answer, Wire
from serving import openapi
from tests.support.production import WITHIN_SECONDS

OPERATIONS = [(path, method) for path, item in openapi.paths().items() for method in item]
EACH = [pytest.param(*operation, id=" ".join(operation)) for operation in OPERATIONS]
PROBLEM = "application/problem+json"
UPLOADS = ("/classify", "/drift")
LIMITS = {"READ_TIMEOUT_SECONDS": "1", "MAX_BODY_BYTES": "100000"}


@pytest.fixture(scope="module")
def strict(store, serve) -> Iterator[httpx.Client]:
    """A client of a service that waits for a second, and takes 100 kB."""
    with serve(store, **LIMITS) as client:
        yield client


@pytest.fixture(scope="module")
def crowded(store, serve) -> Iterator[httpx.Client]:
    """A client of a service where one request may wait."""
    with serve(store, MAX_QUEUE="1") as client:
        yield client


@pytest.fixture(scope="module")
def hurried(store, serve) -> Iterator[httpx.Client]:
    """A client of a service that has a millisecond for each request."""
    with serve(store, TIMEOUT_SECONDS="0.001") as client:
        yield client


@pytest.fixture(scope="module")
def untrained(tmp_path_factory, serve) -> Iterator[httpx.Client]:
    """A client of a service whose store is empty."""
    with serve(tmp_path_factory.mktemp("empty"), ready="/livez") as client:
        yield client


def wire_to(client: httpx.Client) -> Wire:
    return Wire(client.base_url.host, client.base_url.port)


def document_of(client: httpx.Client) -> dict:
    return client.get("/docs.json").json()


def assert_documented(document: dict, path: str, method: str, answer: Answer) -> None:
    """An answer has a status, a type, headers and a body as the document says."""
    described = document["paths"][path][method]["responses"][str(answer.status)]
    schema = described["content"][answer.headers["content-type"]]["schema"]
    assert {name.lower() for name in described["headers"]} <= answer.headers.keys()
    jsonschema.Draft202012Validator(schema | {"components": document["components"]}).validate(answer.json())
    assert answer.json()["status"] == answer.status


@pytest.mark.parametrize(("path", "method"), EACH)
@pytest.mark.parametrize(
    ("headers", "end", "status"),
    [
        pytest.param([], b"", 408, id="headers without an end"),
        pytest.param([("X-Long", "x" * 100_000)], b"\r\n", 431, id="a long header"),
    ],
)
def test_what_is_wrong_with_headers_is_documented_of_every_endpoint(
    strict, path, method, headers, end, status
):
    sent = request(method.upper(), path, headers).removesuffix(b"\r\n") + end

    answer = wire_to(strict).ask(sent)

    assert answer.status == status
    assert_documented(document_of(strict), path, method, answer)


@pytest.mark.parametrize("path", UPLOADS)
@pytest.mark.parametrize(
    ("length", "status"),
    [pytest.param(99, 408, id="does not come"), pytest.param(10**6, 413, id="too large")],
)
def test_what_is_wrong_with_a_body_is_documented(strict, path, length, status):
    headers = [("Content-Type", FORM_TYPE), ("Content-Length", str(length))]

    answer = wire_to(strict).ask(request("POST", path, headers))

    assert answer.status == status
    assert_documented(document_of(strict), path, "post", answer)


def test_that_a_body_for_the_models_is_too_large_is_documented(strict):
    answer = wire_to(strict).ask(request("GET", "/models", [("Content-Length", "1000000")]))

    assert answer.status == 413
    assert_documented(document_of(strict), "/models", "get", answer)


@pytest.mark.parametrize("path", UPLOADS)
def test_that_there_is_too_much_to_do_is_documented(crowded, held_out, path):
    sent = upload(path, list(held_out.images[:300].numpy()))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: wire_to(crowded).ask(sent), range(24)))

    document = document_of(crowded)
    assert {answer.status for answer in answers} == {200, 429}
    for answer in answers:
        if answer.status == 429:
            assert_documented(document, path, "post", answer)


def test_more_requests_than_are_taken_at_a_time_are_told_so_and_the_others_are_answered(
    crowded, as_files, held_out
):
    files = as_files(held_out.images[:300])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: crowded.post("/drift", files=files), range(8)))

    assert {answer.status_code for answer in answers} == {200, 429}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert all(answer.headers["content-type"] == PROBLEM for answer in refused)
    assert all(answer.headers["x-request-id"] == answer.json()["request_id"] for answer in refused)


def test_that_a_request_takes_too_long_is_documented(hurried, held_out):
    images = list(held_out.images[:300].numpy())

    answers = {path: wire_to(hurried).ask(upload(path, images)) for path in UPLOADS}

    document = document_of(hurried)
    for path, answer in answers.items():
        assert answer.status == 504
        assert_documented(document, path, "post", answer)


def test_a_request_that_takes_too_long_is_a_problem_too(hurried, as_files, held_out):
    answer = hurried.post("/drift", files=as_files(held_out.images[:128]))

    assert answer.status_code == 504
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_that_there_is_no_model_is_documented(untrained, held_out):
    images = list(held_out.images[:2].numpy())

    answers = {(path, "post"): wire_to(untrained).ask(upload(path, images)) for path in UPLOADS}
    answers["/readyz", "get"] = wire_to(untrained).ask(request("GET", "/readyz"))

    document = document_of(untrained)
    for operation, answer in answers.items():
        assert answer.status == 503
        assert_documented(document, *operation, answer)


def test_a_store_without_models_is_a_service_that_says_how_to_train_one(untrained, as_files, held_out):
    answer = untrained.post("/classify", files=as_files(held_out.images[:1]))
    ready = untrained.get("/readyz")

    assert answer.status_code == 503
    assert "python -m train mnist" in answer.json()["detail"]
    assert ready.status_code == 503
    assert ready.headers["content-type"] == PROBLEM
    for refused in (answer, ready):
        assert refused.headers["x-request-id"] == refused.json()["request_id"]


def test_that_the_service_stops_is_documented(start, held_out):
    with start(GRACE_SECONDS="1") as service:
        document = document_of(service.client)
        wires = {path: wire_to(service.client) for path in UPLOADS}
        for path, wire in wires.items():
            wire.send(upload(path, list(held_out.images[:2].numpy()))[:-100])
        service.wait_for(lambda: in_progress(service.client) == set(UPLOADS))
        service.process.send_signal(signal.SIGTERM)
        answers = {path: wire.answer() for path, wire in wires.items()}
        service.process.wait(WITHIN_SECONDS)

    for path, answer in answers.items():
        assert answer.status == 503
        assert_documented(document, path, "post", answer)


def in_progress(client: httpx.Client) -> set[str]:
    """Return the endpoints of which the service says that it answers a request."""
    counted = (line for line in client.get("/metrics").text.splitlines() if "request_in_progress{" in line)
    busy = [line for line in counted if not line.endswith(" 0.0")]
    return {path for path in UPLOADS for line in busy if f'endpoint="{path}"' in line}

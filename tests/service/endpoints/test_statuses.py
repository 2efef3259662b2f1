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
UPLOADS = ("/classify", "/drift")
LIMITS = {"READ_TIMEOUT_SECONDS": "1", "MAX_BODY_BYTES": "100000"}


@pytest.fixture(scope="module")
def strict(store, serve) -> Iterator[httpx.Client]:
    """A client of a service that waits for a second, and takes 100 kB."""
    with serve(store, **LIMITS) as client:
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
def test_that_there_is_too_much_to_do_is_documented(store, serve, held_out, path):
    sent = upload(path, list(held_out.images[:300].numpy()))

    with serve(store, MAX_QUEUE="1") as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: wire_to(client).ask(sent), range(24)))
        document = document_of(client)

    assert {answer.status for answer in answers} == {200, 429}
    for answer in answers:
        if answer.status == 429:
            assert_documented(document, path, "post", answer)


def test_that_a_request_takes_too_long_is_documented(store, serve, held_out):
    images = list(held_out.images[:300].numpy())

    with serve(store, TIMEOUT_SECONDS="0.001") as client:
        answers = {path: wire_to(client).ask(upload(path, images)) for path in UPLOADS}
        document = document_of(client)

    for path, answer in answers.items():
        assert answer.status == 504
        assert_documented(document, path, "post", answer)


def test_that_there_is_no_model_is_documented(tmp_path, serve, held_out):
    images = list(held_out.images[:2].numpy())

    with serve(tmp_path, ready="/livez") as client:
        answers = {(path, "post"): wire_to(client).ask(upload(path, images)) for path in UPLOADS}
        answers["/readyz", "get"] = wire_to(client).ask(request("GET", "/readyz"))
        document = document_of(client)

    for operation, answer in answers.items():
        assert answer.status == 503
        assert_documented(document, *operation, answer)


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

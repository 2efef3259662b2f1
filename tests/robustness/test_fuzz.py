"""The service against its description: to all that it is sent, it gives an answer that its document lists."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving import openapi

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = [(path, method.upper()) for path, item in openapi.paths().items() for method in item]
EACH = [pytest.param(*operation, id=" ".join(operation)) for operation in OPERATIONS]
OPEN = {"/livez", "/readyz", "/healthz"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
THOROUGH = pytest.mark.thorough
KEY = "a-key-for-the-fuzzing"


@pytest.fixture(scope="module")
def description(service):
    """The service's own OpenAPI document."""
    return schemathesis.openapi.from_url(f"{service.base_url}/docs.json")


@pytest.fixture(scope="module")
def with_keys(store, serve, copy_store, tmp_path_factory):
    """The document of a service that asks for a key."""
    home = copy_store(store, tmp_path_factory.mktemp("keys") / "home")
    with serve(home, API_KEYS=f"fuzz={KEY}") as client:
        yield schemathesis.openapi.from_url(f"{client.base_url}/docs.json", headers=authorization(KEY))


def authorization(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def fuzz(operation, ask, *, mode: GenerationMode = GenerationMode.POSITIVE, examples: int) -> None:
    """Ask with many requests that keep to the document, or that do not."""

    @settings(max_examples=examples, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask_with(case):
        ask(case)

    ask_with()


@pytest.mark.parametrize("examples", [20, pytest.param(100, marks=THOROUGH)])
@pytest.mark.parametrize("path", [path for path, method in OPERATIONS if method == "POST"])
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_one_that_the_document_lists(description, path, mode, examples):
    fuzz(
        description[path]["POST"],
        lambda case: case.call_and_validate(checks=CHECKS),
        mode=mode,
        examples=examples,
    )


@pytest.mark.parametrize(("path", "method"), EACH)
def test_every_endpoint_of_the_document_is_there_whatever_is_asked_beside_it(description, path, method):
    """Fields of a query that nobody has described, and bodies of requests that have none."""
    case = description[path][method].Case(query={"q": "\0' OR 1=1", "n": "9" * 999})

    case.call_and_validate(checks=CHECKS, headers={"Content-Type": "text/plain", "Range": "bytes=-1"})


@pytest.mark.parametrize("path", [*openapi.paths(), "/", "/docs.json"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_the_document_does_not_list_is_refused_with_those_that_it_does(
    service, description, path, method
):
    documented = {method for path_, method in OPERATIONS if path_ == path} or {"GET"}
    taken = documented | ({"HEAD"} if "GET" in documented else set())

    answer = service.request(method, path)

    if method in taken:
        assert answer.status_code in {200, 400}
    else:
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == taken
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("examples", [5, pytest.param(20, marks=THOROUGH)])
@pytest.mark.parametrize(("path", "method"), EACH)
def test_with_a_key_every_answer_is_one_that_the_document_lists(with_keys, path, method, examples):
    def ask(case):
        answer = case.call_and_validate(checks=CHECKS, headers=authorization(KEY))
        assert answer.status_code != 401

    fuzz(with_keys[path][method], ask, examples=examples)


@pytest.mark.parametrize("examples", [3, pytest.param(10, marks=THOROUGH)])
@pytest.mark.parametrize(("path", "method"), EACH)
def test_without_a_key_nothing_is_answered_but_health(with_keys, path, method, examples):
    wrong = ({}, authorization(KEY[:-1]), {"Authorization": KEY})

    def ask(case):
        answers = [case.call_and_validate(checks=CHECKS, headers=headers) for headers in wrong]
        assert {answer.status_code for answer in answers} == {200 if path in OPEN else 401}

    fuzz(with_keys[path][method], ask, examples=examples)

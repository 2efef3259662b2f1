"""A real service that asks for keys: who gets in, what a browser may do, and what the log and metrics say."""

import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

from cli.client import main

ROOT = Path(__file__).parents[3]
WITHIN_SECONDS = 60  # on a busy machine; it takes none
OPS, LAB, WRONG = "the-key-of-ops-0123", "the-key-of-lab-4567", "the-key-of-nobody-8"
KEYS = f"ops={OPS},lab={LAB}"
PAGE = "https://lab.example"
HEALTH = ("/livez", "/readyz", "/healthz")
GUARDED = ("/", "/docs.json", "/schema.json", "/models", "/metrics", "/classify", "/drift", "/classify/")
STATIC = ("/static_content", "/static_content/swagger-ui.css", "/nowhere", "/livez/", "/..%2flivez")


@dataclass
class Guarded:
    """A service with keys: its client, which shows none, and its log."""

    client: httpx.Client
    log: Path

    def wait_for(self, words: Callable[[str], object]) -> str:
        """Return the log once it has what is looked for."""
        deadline = time.monotonic() + WITHIN_SECONDS
        while not words(text := self.log.read_text()):
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
        return text


@pytest.fixture(scope="module")
def guarded(store, serve, copy_store, tmp_path_factory):
    """A service with two keys that a page of another origin may ask, and whose log is JSON."""
    folder = tmp_path_factory.mktemp("guarded")
    home, log = copy_store(store, folder / "home"), folder / "log"
    with serve(home, log=log, API_KEYS=KEYS, CORS_ORIGINS=PAGE, LOG_FORMAT="json") as client:
        yield Guarded(client, log)


@pytest.fixture(scope="module")
def with_public_metrics(store, serve, copy_store, tmp_path_factory):
    """A service with keys whose metrics need none, and whose log is text."""
    folder = tmp_path_factory.mktemp("public")
    home, log = copy_store(store, folder / "home"), folder / "log"
    with serve(home, log=log, API_KEYS=KEYS, PUBLIC_METRICS="true") as client:
        yield Guarded(client, log)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize("path", [*GUARDED, *STATIC])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [{}, bearer(WRONG), basic(f"ops:{WRONG}"), basic(f"{OPS}:"), {"Authorization": f"Digest {OPS}"}],
    ids=["no key", "a wrong key", "a wrong password", "the key as user", "another scheme"],
)
def test_without_a_key_every_path_is_refused_those_that_are_none_too(guarded, path, method, headers):
    answer = guarded.client.request(method, path, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.headers.get_list("www-authenticate")) == 2


@pytest.mark.parametrize("path", [*GUARDED, *STATIC])
@pytest.mark.parametrize(
    "headers",
    [bearer(OPS), bearer(LAB), basic(f"me:{OPS}"), basic(f":{LAB}")],
    ids=["ops", "lab", "ops as a password", "lab as a password"],
)
def test_with_any_of_the_keys_every_path_answers_as_it_does_where_there_are_none(
    guarded, service, path, headers
):
    answer, open_ = guarded.client.get(path, headers=headers), service.get(path)

    assert answer.status_code == open_.status_code != 401
    assert answer.headers.get("content-type") == open_.headers.get("content-type")


@pytest.mark.parametrize("path", HEALTH)
@pytest.mark.parametrize("headers", [{}, bearer(WRONG), bearer(OPS)], ids=["no key", "wrong key", "a key"])
def test_health_is_told_to_everybody(guarded, path, headers):
    assert guarded.client.get(path, headers=headers).status_code == 200


def test_images_are_classified_for_those_who_have_a_key(guarded, as_files, held_out):
    files = as_files(held_out.images[:2])

    answers = [guarded.client.post("/classify", files=files, headers=one) for one in (bearer(OPS), {})]

    assert [answer.status_code for answer in answers] == [200, 401]
    assert len(answers[0].json()["results"]) == 2


def test_a_body_without_a_key_is_not_asked_for(guarded):
    url = guarded.client.base_url
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n"

    with socket.create_connection((url.host, url.port), timeout=WITHIN_SECONDS) as connection:
        connection.sendall(head)
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 401 ")


def test_metrics_can_be_made_public_and_nothing_else_is(with_public_metrics):
    ask = with_public_metrics.client.get

    answers = {path: ask(path).status_code for path in ("/metrics", "/livez", "/models", "/metrics/", "/")}

    assert answers == {"/metrics": 200, "/livez": 200, "/models": 401, "/metrics/": 401, "/": 401}


def test_the_log_says_whose_key_it_was_and_the_id_of_the_request(guarded, with_public_metrics):
    shown = {"by-ops": bearer(OPS), "by-lab": basic(f"me:{LAB}"), "by-nobody": bearer(WRONG)}
    for one in (guarded, with_public_metrics):
        for name, headers in shown.items():
            one.client.get("/models", headers=headers | {"X-Request-ID": name})

    lines = guarded.wait_for(lambda text: all(name in text for name in shown)).splitlines()
    text = with_public_metrics.wait_for(lambda text: all(name in text for name in shown))

    records = {record.get("request_id"): record for record in map(json.loads, lines)}
    assert [(records[name]["key"], records[name]["status"]) for name in shown] == [
        ("ops", 200),
        ("lab", 200),
        ("-", 401),
    ]
    assert re.search(r'"GET /models" 200, .* ms, key ops, request by-ops$', text, re.MULTILINE)
    assert re.search(r'"GET /models" 401, .* ms, key -, request by-nobody$', text, re.MULTILINE)


def test_no_key_is_in_the_log_the_metrics_or_an_answer(guarded):
    shown = [make(key) for key in (OPS, LAB, WRONG) for make in (bearer, lambda key: basic(f"me:{key}"))]
    paths = ("/models", "/docs.json", "/metrics", "/nowhere", "/classify")

    answers = [guarded.client.get(path, headers=headers) for headers in shown for path in paths]
    guarded.client.get("/last", headers=bearer(OPS))

    log = guarded.wait_for(lambda text: '"path": "/last"' in text)
    said = log + "".join(answer.text + str(answer.headers.raw) for answer in answers)
    for secret in (OPS, LAB, WRONG, *(headers["Authorization"].split()[1] for headers in shown)):
        assert secret not in said


def test_refusals_are_counted(guarded):
    def refused() -> float:
        metrics = guarded.client.get("/metrics", headers=bearer(OPS)).text
        found = re.search(
            r'^driftbento_requests_refused_total\{reason="unauthorized"\} (\S+)', metrics, re.MULTILINE
        )
        return float(found.group(1)) if found else 0

    before = refused()
    for _ in range(3):
        guarded.client.get("/models")

    assert refused() - before == 3


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_that_may_ask_is_told_so_without_a_key(guarded, method):
    preflight = {
        "Origin": PAGE,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,x-request-id",
    }

    answer = guarded.client.options("/classify", headers=preflight)

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert {"Authorization", "Content-Type", "X-Request-ID"} <= set(
        answer.headers["access-control-allow-headers"].split(", ")
    )
    assert answer.headers["access-control-allow-methods"] == "GET, POST"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "method", "header"),
    [
        ("https://evil.example", "POST", "authorization"),
        (f"{PAGE}.evil.example", "POST", "authorization"),
        ("null", "POST", "authorization"),
        (PAGE, "DELETE", "authorization"),
        (PAGE, "POST", "x-other"),
    ],
    ids=["another page", "a longer name", "a file", "another method", "another header"],
)
def test_a_page_or_a_request_that_may_not_ask_is_told_so(guarded, origin, method, header):
    preflight = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": header,
    }

    answer = guarded.client.options("/classify", headers=preflight)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get("access-control-allow-origin") in ({None} if origin != PAGE else {PAGE})


@pytest.mark.parametrize("headers", [bearer(OPS), {}], ids=["with a key", "without"])
def test_a_page_that_may_ask_sees_answers_and_their_ids_also_refusals(guarded, headers):
    answer, other = (
        guarded.client.get("/models", headers=headers | {"Origin": origin})
        for origin in (PAGE, "https://evil.example")
    )

    assert answer.status_code == (200 if headers else 401)
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-expose-headers"] == "X-Request-ID"
    assert "access-control-allow-origin" not in other.headers


def test_the_document_says_how_to_send_a_key_and_what_needs_none(guarded, with_public_metrics, service):
    documents = [
        one.get("/docs.json", headers=bearer(OPS)).json()
        for one in (guarded.client, with_public_metrics.client, service)
    ]

    secured = [
        {path for path, item in document["paths"].items() for one in item.values() if "security" in one}
        for document in documents
    ]
    assert secured == [
        {"/classify", "/drift", "/models", "/metrics"},
        {"/classify", "/drift", "/models"},
        set(),
    ]
    assert documents[0]["components"]["securitySchemes"].keys() == {"bearer", "basic"}
    assert "securitySchemes" not in documents[2]["components"]
    for document, paths in zip(documents, secured, strict=True):
        for path, item in document["paths"].items():
            assert all(("401" in one["responses"]) == (path in paths) for one in item.values())


@pytest.mark.parametrize(
    ("key", "status", "says"),
    [
        pytest.param(OPS, 0, "", id="a key"),
        pytest.param(None, 2, "$DRIFTBENTO_KEY", id="none"),
        pytest.param(WRONG, 2, "wants another key", id="a wrong one"),
        pytest.param("schlüssel", 2, "characters that no key has", id="not ASCII"),
    ],
)
@pytest.mark.parametrize("way", ["option", "environment"])
def test_the_client_shows_its_key(guarded, tmp_path, monkeypatch, capsys, held_out, key, status, says, way):
    Image.fromarray(held_out.images[0].numpy()).save(tmp_path / "a.png")
    options = ["--url", str(guarded.client.base_url), str(tmp_path / "a.png")]
    if key is not None and way == "environment":
        monkeypatch.setenv("DRIFTBENTO_KEY", key)
    elif key is not None:
        options += ["--key", key]

    assert main(["classify", *options]) == status

    said = capsys.readouterr()
    assert says in said.err
    assert key is None or key not in said.out + said.err


def test_the_clients_help_does_not_show_the_key(monkeypatch, capsys):
    monkeypatch.setenv("DRIFTBENTO_KEY", OPS)

    with pytest.raises(SystemExit):
        main(["classify", "--help"])

    assert OPS not in capsys.readouterr().out


def test_a_service_whose_keys_cannot_be_read_does_not_start_and_says_why_but_not_what(tmp_path):
    command = [sys.executable, "-m", "bentoml", "serve", "."]
    environment = os.environ | {"BENTOML_HOME": str(tmp_path), "API_KEYS": "ops=secret-too,lab=secret"}

    finished = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )

    assert finished.returncode != 0
    assert "Write name=key,name2=key2" in finished.stdout + finished.stderr
    assert "secret" not in finished.stdout + finished.stderr

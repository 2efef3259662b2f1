"""Access: what an operator may write, what a request may show, and that nothing else passes."""

import asyncio
import base64
import hmac

import httpx
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.middleware.api_keys import KEY_NAME, ApiKeys
from serving.settings import Settings, read_keys, read_origins

OPS, LAB = "the-key-of-ops-0123", "the=key:of/lab+4567"
HOW = "Authorization: Bearer KEY"


def ask(path: str = "/who", *, authorization: str | None = None) -> httpx.Response:
    """Ask an application behind two keys that answers with the name of the key."""

    async def who(request: Request) -> Response:
        return JSONResponse(request.scope.get(KEY_NAME))

    async def send() -> httpx.Response:
        routes = [Route("/who", who), Route("/livez", who)]
        keys = read_keys(f"ops={OPS},lab={LAB}")
        transport = httpx.ASGITransport(ApiKeys(Starlette(routes=routes), keys=keys, public=["/livez"]))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            headers = {} if authorization is None else {"Authorization": authorization}
            return await client.get(path, headers=headers)

    return asyncio.run(send())


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "name"),
    [
        pytest.param(f"Bearer {OPS}", "ops", id="Bearer"),
        pytest.param(f"Bearer {LAB}", "lab", id="another key"),
        pytest.param(f"bearer  {OPS} ", "ops", id="lower case and spaces"),
        pytest.param(basic(f"anyone:{OPS}"), "ops", id="Basic"),
        pytest.param(basic(f":{LAB}"), "lab", id="Basic without a user, a colon in the key"),
    ],
)
def test_a_key_is_known_by_its_name(authorization, name):
    answer = ask(authorization=authorization)

    assert (answer.status_code, answer.json()) == (200, name)


@pytest.mark.parametrize("path", ["/who", "/nowhere", "/livez/", "//livez"])
@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("Bearer", id="no key"),
        pytest.param("Bearer ", id="an empty key"),
        pytest.param(OPS, id="no scheme"),
        pytest.param(f"Digest {OPS}", id="another scheme"),
        pytest.param(f"Bearer {OPS}x", id="longer"),
        pytest.param(f"Bearer {OPS[:-1]}", id="shorter"),
        pytest.param(f"Bearer {OPS.upper()}", id="capitals"),
        pytest.param(f"Bearer {OPS},{LAB}", id="both"),
        pytest.param("Bearer ops", id="the name"),
        pytest.param(f"Bearer ops={OPS}", id="name and key"),
        pytest.param(f"Basic {OPS}", id="Basic, not encoded"),
        pytest.param(basic(OPS), id="Basic without a colon"),
        pytest.param(basic(f"{OPS}:"), id="the key as user"),
        pytest.param(f"Bearer {basic(f':{OPS}')[6:]}", id="Basic's value as Bearer"),
    ],
)
def test_whatever_shows_no_key_is_told_how_to_send_one(path, authorization):
    answer = ask(path, authorization=authorization)

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get_list("www-authenticate") == [
        'Bearer realm="driftbento"',
        'Basic realm="driftbento", charset="UTF-8"',
    ]
    assert answer.json()["type"] == "urn:driftbento:problem:unauthorized"
    assert HOW in answer.json()["detail"]
    assert OPS[:8] not in answer.text


@pytest.mark.parametrize(
    ("authorization", "name"),
    [(None, None), ("Bearer wrong", None), (f"Bearer {OPS}", "ops")],
    ids=["no key", "a wrong key", "a key"],
)
def test_a_public_path_needs_no_key(authorization, name):
    answer = ask("/livez", authorization=authorization)

    assert (answer.status_code, answer.json()) == (200, name)


def test_a_request_without_a_key_is_refused_before_its_body_is_read():
    sent = []

    async def receive():
        pytest.fail("something was read")

    async def send(message) -> None:
        sent.append(message)

    keys = ApiKeys(Starlette(), keys=read_keys(f"ops={OPS}"), public=[])
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-length", b"9")]}
    asyncio.run(keys(scope, receive, send))

    assert sent[0]["status"] == 401


def test_a_connection_of_another_kind_needs_a_key_too():
    sent = []

    async def send(message) -> None:
        sent.append(message)

    keys = ApiKeys(Starlette(), keys=read_keys(f"ops={OPS}"), public=[])
    asyncio.run(keys({"type": "websocket", "path": "/", "headers": []}, None, send))

    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 401


def test_every_key_is_compared_whichever_is_shown(monkeypatch):
    """How long the answer takes says nothing about which key is near."""
    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or compare(a, b))

    for key in (OPS, LAB, "none-of-the-two-keys"):
        compared.clear()
        ask(authorization=f"Bearer {key}")

        assert len(compared) == 2
        assert {len(digest) for pair in compared for digest in pair} == {32}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "Entry 1 is not name=key", id="empty"),
        pytest.param("only-a-secret-key", "Entry 1 is not name=key", id="no name"),
        pytest.param("=only-a-secret-key", "Entry 1 is not name=key", id="an empty name"),
        pytest.param("a b=some-secret-key-0", "Entry 1 is not name=key", id="a space in a name"),
        pytest.param("ops=fifteen-letters", "at least 16 characters", id="short"),
        pytest.param("ops=some-secret-key-0 ", "Entry 1 is not name=key", id="a space after a key"),
        pytest.param("ops=some-secret-kéy-0", "characters of ASCII", id="not ASCII"),
        pytest.param("ops=some-secret-key-0,", "Entry 2 is not name=key", id="a comma at the end"),
        pytest.param("ops=some-secret-key-0, lab=some-secret-key-1", "Entry 2 is not", id="a space"),
        pytest.param("ops=some-secret-key-0,ops=some-secret-key-1", "Entry 2 has the name", id="one name"),
        pytest.param("ops=some-secret-key-0,lab=some-secret-key-0", "or the key of one", id="one key"),
    ],
)
def test_what_cannot_be_read_as_keys_is_an_error_that_says_the_form_and_shows_no_key(text, says):
    with pytest.raises(ValidationError) as caught:
        Settings(api_keys=text)

    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "letters-" not in str(caught.value)


def test_settings_with_keys_can_be_shown():
    settings = Settings(api_keys=f"ops={OPS},lab={LAB}")

    assert OPS not in repr(settings)
    assert OPS not in settings.model_dump_json()


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("*", ["*"]),
        ("https://a.example", ["https://a.example"]),
        ("http://localhost:8080,http://[::1]:3000", ["http://localhost:8080", "http://[::1]:3000"]),
    ],
    ids=["any", "one", "two"],
)
def test_origins_are_read(text, origins):
    assert read_origins(text) == origins
    assert Settings(cors_origins=text).cors_origins == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.example",
        "https://a.example/",
        "https://A.example",
        "https://a.example, https://b.example",
        "null",
    ],
    ids=["empty", "no scheme", "a path", "capitals", "a space", "null"],
)
def test_what_no_browser_sends_as_an_origin_is_an_error_that_says_the_form(text):
    with pytest.raises(ValidationError, match=r"is no origin.*https://example\.org"):
        Settings(cors_origins=text)

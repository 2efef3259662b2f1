"""What HTTP asks of a server beside an answer: upgrades, hosts, and connections that wait for more."""

import json
import socket
import time
from contextlib import ExitStack

import httpx
import pytest

from bench.wire import Answer, Wire
from serving.settings import Settings
from tests.support.processes import connected

QUICK = b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAA\r\n",
    "a WebSocket": b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "two protocols": b"Upgrade: IRC/6.9, h2c\r\nConnection: keep-alive, Upgrade\r\nUpgrade: TLS/1.0\r\n",
}
EACH_UPGRADE = [pytest.param(headers, id=name) for name, headers in UPGRADES.items()]


def wire_to(client: httpx.Client) -> Wire:
    return Wire(client.base_url.host, client.base_url.port)


def classification(client: httpx.Client, files: list, headers: bytes = b"") -> bytes:
    """Return a request to /classify as it goes over a connection."""
    request = httpx.Request("POST", client.base_url.join("/classify"), files=files)
    body = request.read()
    lines = b"".join(b"%b: %b\r\n" % header for header in request.headers.raw)
    return b"POST /classify HTTP/1.1\r\n" + headers + lines + b"\r\n" + body


def labels_in(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [result["label"] for result in answer.json()["results"]]


@pytest.mark.parametrize("headers", EACH_UPGRADE)
@pytest.mark.parametrize("pause_seconds", [0, 0.2], ids=["all at once", "in pieces"])
def test_a_request_that_asks_for_another_protocol_is_answered_in_this_one(
    service, as_files, held_out, headers, pause_seconds
):
    """As curl --http2 and the JDK's client do unless they are told not to."""
    files = as_files(held_out.images[:3])
    sent = classification(service, files, headers)
    wire = wire_to(service)

    for start in range(0, len(sent), 200) if pause_seconds else [0]:
        wire.send(sent[start : start + 200] if pause_seconds else sent)
        time.sleep(pause_seconds / 10)
    answer = wire.answer()
    again = wire.ask(QUICK)

    assert labels_in(answer) == labels_in(wire_to(service).ask(classification(service, files)))
    assert "upgrade" not in answer.headers
    assert again.status == 200


@pytest.mark.parametrize("headers", EACH_UPGRADE)
def test_a_request_behind_one_that_asks_for_another_protocol_is_answered_too(
    service, as_files, held_out, headers
):
    files = as_files(held_out.images[:1])
    upgrade = classification(service, files, headers)
    last = QUICK[:-2] + headers + b"\r\n"

    with connected(service) as connection:
        connection.sendall(upgrade + QUICK + upgrade + last)
        answers = [answer_on(connection) for _ in range(4)]

    assert [answer["model"] for answer in answers[::2]]
    assert [answer["models"][0]["name"] for answer in answers[1::2]] == ["mnist", "mnist"]


def answer_on(connection: socket.socket) -> dict:
    """Return the next answer on a connection, byte by byte, since others may follow it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 200"), head
    (length,) = [
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if b"content-length" in line.lower()
    ]
    return json.loads(connection.recv(length, socket.MSG_WAITALL))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param(b"HTTP/1.1\r\n", 400, id="none"),
        pytest.param(b"HTTP/1.1\r\nHost: x\r\nHost: y\r\n", 400, id="two"),
        pytest.param(b"HTTP/1.1\r\nHost: x\r\nHost: x\r\n", 400, id="one twice"),
        pytest.param(b"HTTP/1.0\r\nHost: x\r\nHost: y\r\n", 400, id="two, of HTTP/1.0"),
        pytest.param(b"HTTP/1.1\r\nHost: x/../y\r\n", 400, id="a path"),
        pytest.param(b"HTTP/1.1\r\nHost: x y\r\n", 400, id="a space"),
        pytest.param(b"HTTP/1.1\r\nHost: x, y\r\n", 400, id="a list"),
        pytest.param(b"HTTP/1.1\r\nHost: user@x\r\n", 400, id="a user"),
        pytest.param(b"HTTP/1.1\r\nHost: x:port\r\n", 400, id="a word for a port"),
        pytest.param(b"HTTP/1.0\r\n", 200, id="none, of HTTP/1.0"),
        pytest.param(b"HTTP/1.1\r\nHost:\r\n", 200, id="empty"),
        pytest.param(b"HTTP/1.1\r\nHost: a_b.example:3000 \r\n", 200, id="a name"),
        pytest.param(b"HTTP/1.1\r\nHost: [::1]:3000\r\n", 200, id="an address"),
    ],
)
def test_a_request_says_once_whom_it_is_for(service, headers, status):
    answer = wire_to(service).ask(b"GET /models " + headers + b"\r\n")

    assert answer.status == status
    assert status == 200 or "Host header" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "length", "status"),
    [
        pytest.param("/classify", "0" * 4400, 400, id="no body"),
        pytest.param("/classify", "0" * 9000 + "5", 400, id="five bytes"),
        pytest.param("/classify", "0" * 9000 + "100000000000", 413, id="too many bytes"),
        pytest.param("/models", "0" * 4400, 200, id="no body of a request that has none"),
    ],
)
def test_a_length_of_thousands_of_digits_is_no_defect(service, path, length, status):
    method = "GET" if path == "/models" else "POST"
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    expect = "Expect: 100-continue\r\n" if status == 413 else ""
    body = "hello" if length.endswith("5") else ""

    answer = wire_to(service).ask(f"{head}{expect}Content-Length: {length}\r\n\r\n{body}".encode())

    assert answer.status == status, answer.body


def test_a_form_that_was_compressed_on_its_way_is_refused_by_name(service):
    head = b"POST /drift HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    coding = b"Transfer-Encoding: gzip, chunked\r\n\r\n"

    answer = wire_to(service).ask(head + coding + b"5\r\nhello\r\n0\r\n\r\n")

    assert answer.status == 415
    assert "Transfer-Encoding is gzip, chunked" in answer.json()["detail"]


def test_a_connection_waits_for_its_next_request_for_as_long_as_the_setting_says(store, serve):
    """And for longer than its headers may take."""
    settings = {"KEEP_ALIVE_SECONDS": "4", "READ_TIMEOUT_SECONDS": "1"}
    with serve(store, **settings) as client, connected(client) as used, connected(client) as unused:
        used.sendall(QUICK)
        answer_on(used)
        began = time.monotonic()
        unused_closed = unused.recv(1)
        unused_seconds = time.monotonic() - began
        used.sendall(QUICK)
        again = answer_on(used)
        began = time.monotonic()
        used_closed = used.recv(1)
        used_seconds = time.monotonic() - began

    assert (unused_closed, used_closed) == (b"", b"")
    assert again["models"]
    assert unused_seconds < 4 <= used_seconds + 0.1


def test_headers_that_do_not_come_are_not_waited_for_on_a_connection_that_was_kept(store, serve):
    with serve(store, READ_TIMEOUT_SECONDS="1") as client, connected(client) as connection:
        connection.sendall(QUICK)
        answer_on(connection)
        began = time.monotonic()
        connection.sendall(QUICK[:-2])
        refused = connection.recv(65536)
        seconds = time.monotonic() - began

    assert refused.startswith(b"HTTP/1.1 408")
    assert seconds < 30  # of 75, for which it would be kept


def test_without_a_setting_a_connection_is_kept_for_longer_than_proxies_keep_theirs():
    assert Settings.model_fields["keep_alive_seconds"].default > 60


def test_a_connection_that_waits_for_its_next_request_gives_way_where_there_are_too_many(store, serve):
    """Those that have waited for longest go first; one whose request is not answered yet stays."""
    with serve(store, MAX_CONNECTIONS="4") as client, ExitStack() as stack:
        client.close()
        begun, *waiting = [stack.enter_context(connected(client)) for _ in range(4)]
        begun.sendall(QUICK[:-2])
        for connection in waiting:
            connection.sendall(QUICK)
            answer_on(connection)
        newer = stack.enter_context(connected(client))
        newer.sendall(QUICK)
        answered = answer_on(newer)
        closed = waiting[0].recv(1)
        begun.sendall(b"\r\n")
        others = []
        for connection in waiting[1:]:
            connection.sendall(QUICK)
            others.append(answer_on(connection))
        finished = answer_on(begun)

    assert closed == b""
    assert all("models" in answer for answer in (answered, finished, *others))

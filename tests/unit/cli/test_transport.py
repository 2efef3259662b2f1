"""The client's way to a service: the environment's proxies and certificates, as a desktop has them."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from cli.client import main
from cli.transport import proxy_to

ERROR = 2
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
DESKTOP = {"ALL_PROXY": "socks://127.0.0.1:8080/", "all_proxy": "socks://127.0.0.1:8080/"}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def picture(tmp_path) -> Path:
    (tmp_path / "a.png").write_bytes(b"?")
    return tmp_path / "a.png"


@pytest.fixture
def proxy() -> Iterator[HTTPServer]:
    """A proxy that refuses whatever it is asked for, and keeps the addresses."""

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.server.asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def asked(picture: Path, url: str) -> int:
    return main(["classify", "--url", url, str(picture)])


@pytest.mark.parametrize(
    "variables",
    [
        DESKTOP,
        {"HTTP_PROXY": "socks5://127.0.0.1:1"},
        {"HTTP_PROXY": "http://127.0.0.1:none"},
        {"NO_PROXY": "[::1", "HTTP_PROXY": "http://127.0.0.1:1"},
        {"SSL_CERT_FILE": "/no/such/file"},
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0"])  # noqa: S104 - nothing is bound
def test_nothing_in_the_environment_stands_before_this_machine(picture, monkeypatch, capsys, variables, host):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    status = asked(picture, f"http://{host}:9")

    assert status == ERROR
    assert "No service answers" in capsys.readouterr().err


def test_a_proxy_that_can_be_used_is_used_beside_one_that_cannot(picture, monkeypatch, proxy):
    for name, value in DESKTOP.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.server_port}")

    asked(picture, "http://gpu.example:3000")

    assert proxy.asked == ["http://gpu.example:3000/classify"]


@pytest.mark.parametrize("kind", ["socks", "socks4", "socks5", "socks5h", "ftp"])
def test_a_proxy_that_cannot_be_used_is_said_in_a_sentence_without_its_password(
    picture, monkeypatch, capsys, kind
):
    monkeypatch.setenv("ALL_PROXY", f"{kind}://me:secret@127.0.0.1:1")

    status = asked(picture, "http://gpu.example:3000")

    said = capsys.readouterr().err
    assert status == ERROR
    assert f"gpu.example, {kind}://, cannot be used" in said
    assert "HTTP_PROXY" in said
    assert "secret" not in said


def test_an_address_in_no_proxy_is_reached_without_one(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", ".example")

    assert proxy_to(httpx.URL("http://gpu.example:3000")) is None
    assert proxy_to(httpx.URL("http://gpu.example.org:3000")) == "socks://127.0.0.1:1"


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "damaged"])
def test_certificates_that_cannot_be_used_are_said_in_a_sentence(
    picture, tmp_path, monkeypatch, capsys, content
):
    file = tmp_path / "certificates"
    if content:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))

    status = asked(picture, "https://gpu.example:3000")

    assert status == ERROR
    assert f"The certificates in SSL_CERT_FILE, {file}, cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["", "localhost:3000", "ftp://localhost", "http://", "/classify", "http://[::1"]
)
def test_what_is_no_address_is_said_in_a_sentence(picture, capsys, url):
    status = asked(picture, url)

    assert status == ERROR
    assert len(capsys.readouterr().err.splitlines()) == 1

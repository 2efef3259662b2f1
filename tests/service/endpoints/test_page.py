"""The page that shows the API, in a real browser."""

import re
import shutil
import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from serving.endpoints.page import HEADERS

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # it has none where it is root, and sees nothing but this service
    "--disable-dev-shm-usage",
    "--enable-logging=stderr",
    "--virtual-time-budget=30000",  # milliseconds by the page's own clock, which waits for what is loading
    "--dump-dom",
)


@pytest.fixture
def browse(tmp_path) -> Callable[[str], tuple[str, list[str]]]:
    """Return a function that gives a page as a browser has built it, and what its console says."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"needs a browser: {', '.join(BROWSERS)}")

    def visit(address: str) -> tuple[str, list[str]]:
        command = [browser, f"--user-data-dir={tmp_path}", *OPTIONS, address]
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
        return finished.stdout, re.findall(r"^.*:CONSOLE.*$", finished.stderr, re.MULTILINE)

    return visit


def test_a_browser_shows_every_endpoint_and_is_refused_nothing(service, browse):
    document = service.get("/docs.json").json()
    operations = {asked["operationId"] for path in document["paths"].values() for asked in path.values()}

    page, said = browse(str(service.base_url))

    shown = re.findall(r'id="operations-[^"]*-([^"-]+)"', page)
    assert {"classify", "drift"} <= operations <= set(shown)
    assert said == []


def test_a_link_to_an_endpoint_shows_what_it_takes_and_every_status(service, browse):
    document = service.get("/docs.json").json()
    statuses = document["paths"]["/classify"]["post"]["responses"]

    page, said = browse(f"{service.base_url}/#/Images/classify")

    assert "Try it out" in page
    assert set(statuses) <= set(re.findall(r'data-code="(\d+)"', page))
    assert said == []


def test_what_the_policy_does_not_allow_the_browser_refuses_and_says_so(browse, tmp_path):
    """Or that it is refused nothing would mean nothing."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            for header in ({"Content-Type": "text/html"} | HEADERS).items():
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(b"<p id='text'>as it came</p><script>text.innerText = 'changed'</script>")

        def log_message(self, *_) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        page, said = browse(f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()

    assert "as it came" in page
    assert any("Content Security Policy" in line for line in said)

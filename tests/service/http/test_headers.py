"""What a real service's answers carry and do not give away, whatever is asked; and its page in a browser."""

import base64
import hashlib
import importlib.metadata
import platform
import re
import site
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import pytest

ROOT = Path(__file__).parents[3]
PROBLEM = "application/problem+json"
VERSIONS = [importlib.metadata.version(name) for name in ("bentoml", "uvicorn", "starlette", "httptools")]
GIVES_AWAY = ("/home", "/root", str(ROOT), *site.getsitepackages(), "site-packages", "Traceback", 'File "')
GARBAGE = ("garbage.png", bytes(range(256)) * 4, "image/png")
DAMAGED = ("damaged.zip", b"PK\x03\x04" + bytes(90))
OBJECTS = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n"
PICKLED = ("pickled.npy", b"\x93NUMPY\x01\x00" + len(OBJECTS).to_bytes(2, "little") + OBJECTS)

GOOD = [
    pytest.param("GET", path, {}, 200, id=path)
    for path in ("/", "/docs.json", "/schema.json", "/models", "/metrics", "/livez", "/readyz", "/healthz")
]
STATIC = [
    pytest.param("GET", "/static_content/swagger-ui-bundle.js", {}, 200, id="a script"),
    pytest.param("HEAD", "/static_content/index.css", {}, 200, id="HEAD"),
    pytest.param("GET", "/static_content/index.css", {"headers": {"Range": "bytes=0-9"}}, 206, id="a part"),
    pytest.param(
        "GET", "/static_content/index.css", {"headers": {"Range": "bytes=9999999-"}}, 416, id="none"
    ),
    pytest.param("GET", "/static_content", {}, 404, id="a folder"),
    pytest.param("GET", "/classify/", {}, 404, id="a slash too many"),
]
REFUSED = [
    pytest.param("GET", "/nowhere", {}, 404, id="nowhere"),
    pytest.param("GET", "/static_content/%2e%2e/%2e%2e/http_app.py", {}, 404, id="out of the folder"),
    pytest.param("GET", "/static_content/..%2f..%2fhttp_app.py", {}, 404, id="out by a slash"),
    pytest.param("GET", "/static_content//etc/passwd", {}, 404, id="an absolute path"),
    pytest.param("GET", "/static_content/%00", {}, 404, id="a null"),
    pytest.param("GET", "/static_content/" + "a" * 5000, {}, 404, id="a long name"),
    pytest.param("GET", "/%ff%fe", {}, 404, id="no UTF-8"),
    pytest.param("GET", "/%0a%0d<script>", {}, 404, id="ends of lines"),
    pytest.param("PUT", "/classify", {}, 405, id="a method"),
    pytest.param("POST", "/static_content/index.css", {}, 405, id="a method for a file"),
    pytest.param("POST", "/classify", {}, 400, id="empty"),
    pytest.param("POST", "/classify", {"json": {}}, 415, id="JSON"),
    pytest.param("POST", "/classify", {"files": {"images": GARBAGE}}, 422, id="garbage"),
    pytest.param("POST", "/drift", {"files": {"images": DAMAGED}}, 422, id="a damaged archive"),
    pytest.param("POST", "/drift", {"files": {"images": PICKLED}}, 422, id="a pickle"),
    pytest.param(
        "POST", "/drift", {"files": {"images": GARBAGE}, "data": {"model": "../m"}}, 404, id="a model"
    ),
    pytest.param("POST", "/classify", {"files": [("images", GARBAGE)] * 1001}, 413, id="1,001 files"),
]


class Page(HTMLParser):
    """What a page has its browser load, run and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded, self.inline, self.attributes = list[str](), list[str](), set[str]()
        self.in_script = False
        self.feed(text)

    def handle_starttag(self, tag, attributes) -> None:
        given = dict(attributes)
        self.attributes |= given.keys()
        self.in_script = tag == "script" and "src" not in given
        self.loaded += [given[name] for name in ("src", "href") if name in given]

    def handle_data(self, data) -> None:
        if self.in_script:
            self.inline.append(data)

    def handle_endtag(self, _tag) -> None:
        self.in_script = False


@pytest.mark.parametrize(("method", "path", "options", "status"), [*GOOD, *STATIC, *REFUSED])
def test_no_answer_is_without_its_headers_and_none_gives_anything_away(
    service, method, path, options, status
):
    asked = options | {"headers": options.get("headers", {}) | {"X-Request-ID": "asked"}}

    answer = service.request(method, path, **asked)

    assert answer.status_code == status
    headers = answer.headers
    assert headers.get_list("x-request-id") == ["asked"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert not {"server", "x-powered-by", "via"} & set(headers)
    said = answer.text + str(headers)
    assert [word for word in (*GIVES_AWAY, *VERSIONS, platform.python_version()) if word in said] == []
    if status >= 400:
        assert headers["content-type"] == PROBLEM
        assert answer.json()["request_id"] == "asked"


def test_the_page_loads_and_runs_what_its_policy_allows_and_nothing_of_other_hosts(service):
    answer = service.get("/")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))

    page = Page(answer.text)

    files = {one: service.get(urljoin("/", one)) for one in page.loaded}
    assert all(one.startswith("./") and file.is_success for one, file in files.items())
    assert len([one for one in files if one.endswith(".js")]) == 1
    (script,) = page.inline
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert not {name for name in page.attributes if name.startswith("on") or name == "style"}
    (styles,) = [file.text for one, file in files.items() if one.endswith(".css")]
    assert {url[:5] for url in re.findall(r"url\([\"']?([^\"')]+)", styles)} == {"data:"}
    assert "data:" in policy["img-src"]
    assert (policy["default-src"], policy["connect-src"]) == ("'none'", "'self'")
    assert re.findall(r"https?://", answer.text) == []
    assert "camera=()" in answer.headers["permissions-policy"]


def test_without_settings_there_are_no_keys_and_no_page_of_another_origin_may_ask(service):
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}

    answers = [service.get("/models", headers=preflight), service.options("/classify", headers=preflight)]

    assert [answer.status_code for answer in answers] == [200, 405]
    for answer in answers:
        assert [name for name in answer.headers if name.startswith("access-control-")] == []

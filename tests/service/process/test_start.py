"""What the service says when it cannot start, and where it listens."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.homes import with_mounts
from tests.support.processes import ROOT, environment, free_port, wait_until, wait_until_ready

SERVE = [sys.executable, "-m", "bentoml", "serve", "."]
pytestmark = pytest.mark.slow


def try_to_serve(home: Path, *options: str, under: Sequence[str] = (), **settings: str) -> list[str]:
    """Return the lines that a service prints that does not start, as its exit status says too."""
    finished = subprocess.run(
        [*under, *SERVE, "--host", "127.0.0.1", "--port", "0", *options],
        cwd=ROOT,
        env=environment(home) | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 1, finished.stdout
    return finished.stdout.splitlines()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        pytest.param({"WORKERS": "two"}, "WORKERS: Input should be a valid integer", id="no number"),
        pytest.param(
            {"MAX_SIDE": "0"}, "MAX_SIDE: Input should be greater than or equal to 1.", id="too small"
        ),
        pytest.param({"API_KEYS": "me=shorty"}, "API_KEYS: Entry 1 is not name=key.", id="no key"),
        pytest.param({"LOG_FORMAT": "xml"}, "LOG_FORMAT: Input should be 'text' or 'json'.", id="no format"),
        pytest.param(
            {"WORKERS": "two", "MAX_SIDE": "0"},
            r"WORKERS: .*\. MAX_SIDE: Input should be greater than or equal to 1\.",
            id="two at once",
        ),
    ],
)
def test_a_wrong_setting_is_named_in_one_line_that_says_what_is_right(tmp_path, settings, says):
    (line,) = try_to_serve(tmp_path, **settings)

    assert re.search(says, line)
    assert "[CRITICAL]" in line
    assert "shorty" not in line


def test_a_log_in_json_says_in_json_that_a_setting_is_wrong(tmp_path):
    (line,) = try_to_serve(tmp_path, WORKERS="two", LOG_FORMAT="json")

    said = json.loads(line)
    assert said["level"] == "CRITICAL"
    assert "WORKERS: Input should be a valid integer" in said["message"]
    assert "traceback" not in said


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_port_that_cannot_be_had_is_said_without_a_traceback(tmp_path, log_format):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        lines = try_to_serve(tmp_path, "--port", str(port), LOG_FORMAT=log_format)

    assert f"Could not bind 127.0.0.1:{port}" in lines[0]
    assert "The service ends: [Errno 98] Address already in use." in lines[-1]
    assert "Traceback" not in "".join(lines)
    if log_format == "json":
        assert [json.loads(line)["level"] for line in lines] == ["ERROR", "CRITICAL"]


READ_ONLY = """
for folder in /tmp /var/tmp "$PWD"; do
    mount --bind "$folder" "$folder" && mount -o remount,bind,ro "$folder" || exit
done
cd "$PWD" && mount --bind "$BENTOML_HOME" "$BENTOML_HOME" && mount -o remount,bind,{home} "$BENTOML_HOME"
"""


@pytest.mark.parametrize("home", ["rw", "ro"])
def test_without_a_folder_for_temporary_files_the_service_says_so_in_one_line(tmp_path, home):
    for name in ("bentos", "envs", "models", "tmp"):
        (tmp_path / name).mkdir()
    under = with_mounts(tmp_path, READ_ONLY.format(home=home).strip())

    (line,) = try_to_serve(tmp_path, under=under, TMPDIR="", LOG_FORMAT="json")

    said = json.loads(line)
    assert said["level"] == "CRITICAL"
    assert "such as in /tmp" in said["message"]


@pytest.fixture
def serve_on(store, tmp_path) -> Callable[[str], AbstractContextManager[tuple[int, Path]]]:
    """Return a context manager that starts a service on a host, and gives its port and its log."""

    @contextmanager
    def serving(host: str) -> Iterator[tuple[int, Path]]:
        port, log = free_port(), tmp_path / "log"
        listening = {"BENTOML_HOST": host, "BENTOML_PORT": str(port), "LOG_FORMAT": "json"}
        with log.open("wb") as output:
            process = subprocess.Popen(SERVE, cwd=ROOT, env=environment(store) | listening, stdout=output)
        try:
            with httpx.Client(base_url=f"http://[::1]:{port}") as client:
                wait_until_ready(client, "/readyz", process)
            yield port, log
        finally:
            process.terminate()
            process.wait(timeout=30)

    return serving


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")
def test_the_service_listens_for_both_kinds_of_addresses_where_its_host_is_ipv6s(
    serve_on, as_files, held_out
):
    files = as_files(held_out.images[:1])

    with serve_on("::") as (port, log):
        answers = [
            httpx.post(f"http://{host}:{port}/classify", files=files) for host in ("[::1]", "127.0.0.1")
        ]
        wait_until(lambda: log.read_text().count('"status": 200') == 2)
        records = [json.loads(line) for line in log.read_text().splitlines()]

    assert [answer.status_code for answer in answers] == [200, 200]
    clients = [record["client"].rpartition(":")[0] for record in records if "client" in record]
    assert clients == ["[::1]", "[::ffff:127.0.0.1]"]


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")
def test_the_health_check_finds_a_service_that_listens_for_ipv6_alone(serve_on):
    with serve_on("::1") as (port, _):
        command = [sys.executable, "deploy/image/healthcheck.py"]
        listening = {"BENTOML_HOST": "::1", "BENTOML_PORT": str(port)}
        checked = subprocess.run(
            command, cwd=ROOT, env=os.environ | listening, capture_output=True, check=False
        )

    assert checked.returncode == 0

"""Every command: no traceback for a mistake of its user, and an exit status that tells it."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import numpy as np
import psutil
import pytest

from cli.drift import main as drift
from tests.support.processes import ROOT, environment, wait_until

OK, ERROR, DRIFT, INTERRUPTED, UNREAD = 0, 2, 3, 130, 141
MODULES = ("train", "drift", "serving.client")
ANSWER = {
    "model": "some:1",
    "trained": True,
    "results": [
        {"index": 0, "filename": "a.png", "top": [{"label": "≤ σ é", "probability": 1.0}], "warning": None}
    ],
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    """A folder with a reference, and a batch of another distribution."""
    folder = tmp_path_factory.mktemp("samples")
    generator = np.random.default_rng(0)
    np.save(folder / "held_out.npy", generator.normal(size=(200, 4)))
    np.save(folder / "dérive.npy", generator.normal(3, size=(50, 4)))
    quick = ["--n-permutations", "99", "--max-batch", "60", "--batches", "50"]
    assert drift(["fit", str(folder / "held_out.npy"), "--out", str(folder / "reference"), *quick]) == OK
    return folder


@pytest.fixture(scope="module")
def stub() -> Iterator[str]:
    """The address of a service that always gives the same answer."""

    class Service(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(ANSWER).encode())

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=["a table", "JSON", "help"])
def command(request, tmp_path, stub) -> list[str]:
    """A command that prints something, and then ends well."""
    (tmp_path / "a.png").write_bytes(b"?")
    classify = ["serving.client", "classify", "--url", stub, str(tmp_path / "a.png")]
    printing = {"a table": classify, "JSON": [*classify, "--json"], "help": ["train", "--help"]}
    return [sys.executable, "-m", *printing[request.param]]


def run(
    command: list[str], *, stdout: IO[str] | int = subprocess.PIPE, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command that keeps its output back until there is much of it, as it does by default."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        command, cwd=ROOT, env=kept | variables, stdout=stdout, stderr=subprocess.PIPE, check=False
    )


@pytest.mark.parametrize("module", MODULES)
def test_each_command_says_its_version(module):
    finished = run([sys.executable, "-m", module, "--version"])

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert finished.stdout.decode() == f"driftbento {project['version']}\n"
    assert finished.returncode == OK


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_output_is_written_whatever_the_terminals_encoding(command, encoding):
    finished = run(command, PYTHONIOENCODING=encoding)

    assert (finished.returncode, finished.stderr) == (OK, b"")
    text = finished.stdout.decode(encoding)
    if "--json" in command:
        assert json.loads(text)["results"] == ANSWER["results"]


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["a table", "JSON"])
def test_characters_that_an_encoding_does_not_have_are_spelt_out(samples, options, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))

    status = drift(
        ["score", "--reference", str(samples / "reference"), str(samples / "dérive.npy"), *options]
    )

    text = written.getvalue().decode("ascii")
    assert status == DRIFT
    if options:
        assert json.loads(text)["driving_images"][0]["filename"].startswith("dérive.npy")
    else:
        assert all(spelt in text for spelt in ("p <= alpha 0.05", "MMD^2", r"d\xe9rive.npy"))


def test_a_pipe_that_is_closed_ends_a_command_in_silence_and_with_a_status_of_its_own(command):
    reader, writer = os.pipe()
    os.close(reader)

    finished = run(command, stdout=writer)

    os.close(writer)
    assert (finished.returncode, finished.stderr) == (UNREAD, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_the_output_is_an_error_in_one_sentence(command):
    with Path("/dev/full").open("w") as full:
        finished = run(command, stdout=full)

    assert finished.returncode == ERROR
    assert finished.stderr.decode() == "error: [Errno 28] No space left on device\n"


def test_a_command_whose_output_is_closed_does_its_work(command):
    finished = run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command])

    assert finished.returncode == OK


@pytest.mark.parametrize(
    "when", ["while it loads torch", "while it works"], ids=lambda when: when.replace(" ", "-")
)
def test_training_that_is_interrupted_says_so_in_one_line(tmp_path, when):
    command = [sys.executable, "-m", "train", "mnist", "--dataset", "embedded", "--no-certificate"]
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=file
        )
    try:
        if when == "while it works":
            wait_until(lambda: b" of " in log.read_bytes())  # what it says of its progress
        else:
            mapped = psutil.Process(process.pid).memory_maps
            wait_until(lambda: any("libtorch_cpu" in one.path for one in mapped()))

        process.send_signal(signal.SIGINT)

        assert process.wait(timeout=60) == INTERRUPTED
    finally:
        process.kill()
    assert log.read_text().splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in log.read_text()
    assert list(tmp_path.glob("models/mnist/*")) == []


@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1", "3e3", " ", "1.5", "99999999999999999999"])
def test_a_port_that_is_none_is_said_before_anything_is_made(port, tmp_path):
    finished = run([str(ROOT / "scripts" / "serve")], PORT=port, VENV=str(tmp_path / "environment"))

    assert finished.returncode == ERROR
    assert f"PORT is '{port}'. Give a number from 1 to 65535" in finished.stderr.decode()
    assert not (tmp_path / "environment").exists()

"""The README: what it says is so, and its commands work as they stand there, in a fresh clone."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import torch

from serving.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
URL = "http://localhost:3000"
READY_WITHIN_SECONDS = 900


def blocks_with(text: str) -> str:
    """Return the README's commands that hold a text."""
    return "".join(block for block in BLOCKS if text in block)


@pytest.fixture
def clone(tmp_path) -> Path:
    """What a stranger gets: the project's files, in a folder of its own, without anything made from them."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    folder = tmp_path / "clone"
    for name in filter(None, listing.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def stranger(tmp_path) -> dict[str, str]:
    """The environment of somebody who has Python and an empty home."""
    path = [part for part in os.environ["PATH"].split(os.pathsep) if not Path(part).is_relative_to(ROOT)]
    left_out = {"VIRTUAL_ENV", "BENTOML_HOME", "PYTHONPATH", "PYTEST_ADDOPTS"}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    home = tmp_path / "home"
    home.mkdir()
    return kept | {"HOME": str(home), "PATH": os.pathsep.join(path), "KEY": "that-nobody-guesses"}


def run(commands: str, folder: Path, environment: dict[str, str]) -> str:
    """Run commands as a shell would, each of which must end well, and return what they printed."""
    shell = ["bash", "-e", "-c", commands]
    finished = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@contextmanager
def running(command: str, folder: Path, environment: dict[str, str], *, until: str) -> Iterator[float]:
    """Run a command that goes on, from when it prints a text; give the seconds that this took."""
    log = folder / "output.log"
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while until not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < started + READY_WITHIN_SECONDS, log.read_text()
            time.sleep(0.2)
        yield time.monotonic() - started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_the_commands_of_the_readme_work_in_a_fresh_clone(clone, stranger):
    with pytest.raises(httpx.TransportError):  # else the answers below would be another service's
        httpx.get(URL)
    build, serve_bento, *_ = blocks_with("bentoml build").splitlines()

    with running(blocks_with("scripts/serve   #"), clone, stranger, until="Ready at"):
        answers = run(blocks_with("localhost:3000"), clone, stranger)
        tables = run(blocks_with("serving.client"), clone, stranger)
    shown = run(blocks_with("-m drift"), clone, stranger)
    with running(blocks_with("API_KEYS"), clone, stranger, until="Ready at") as seconds_of_second_start:
        without_key = httpx.get(f"{URL}/models")
        with_key = run(blocks_with("Bearer $KEY"), clone, stranger)
    few = {"PYTEST_ADDOPTS": "-k drift_reference", "TEST_PROCESSES": "0"}  # all of them are running already
    tested = run(blocks_with("scripts/test"), clone, stranger | few)
    quickly = " --epochs 1 --no-certificate"  # the first start has trained for as long as it takes
    trained = run(blocks_with("train mnist").strip() + quickly, clone, stranger)
    built = run(build, clone, stranger)
    with running(serve_bento, clone, stranger, until="Service driftbento initialized"):
        from_bento = run(blocks_with("localhost:3000"), clone, stranger)
    if java := shutil.which("java", path=stranger["PATH"]):
        install, archive, start = blocks_with("pip install torchserve").splitlines()
        run(f"{install}\n{archive}", clone, stranger)
        with running(start, clone, stranger, until="WORKER_MODEL_LOADED"):
            from_torchserve = run(blocks_with("localhost:8080"), clone, stranger)

    label = (clone / "samples" / "labels.csv").read_text().splitlines()[1].partition(",")[2]
    for answered in (answers, from_bento):
        assert f'"label":"{label}"' in answered
        assert answered.count('"is_drift":false') == 1
        assert answered.count('"p_value":0.001,"alpha":0.05,"is_drift":true') == 1
    assert without_key.status_code == httpx.codes.UNAUTHORIZED
    assert f'"label":"{label}"' in with_key
    assert "no drift" in tables
    assert '"is_drift": true' in tables
    assert "Alarms at 0.05" in shown
    assert '"is_drift": true' in shown
    assert (clone / "samples" / "reference.safetensors").exists()
    assert seconds_of_second_start < 60  # with room for a busy machine; the first start takes minutes
    assert re.search(r"\d+ passed", tested)
    version = re.search(r"Saved as (mnist:\w+)", trained).group(1)
    assert "Successfully built Bento" in built
    assert f'"model":"{version}"' in from_bento
    if java:
        assert f'"{label}": 0.' in from_torchserve


def test_the_readme_lists_every_setting_with_its_default_and_meaning():
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\S+) \| (.+) \|$", README, re.MULTILINE)

    listed = {name.lower(): (default, meaning) for name, default, meaning in rows}
    assert listed.keys() == Settings.model_fields.keys()
    for name, field in Settings.model_fields.items():
        default = "unset" if field.default is None else str(field.default)
        assert listed[name] == (default, field.description)


def test_the_example_in_python_finds_the_drift_that_it_makes(capsys):
    (example,) = (one for one in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "torch" in one)
    torch.manual_seed(0)

    exec(example, {})  # noqa: S102 - it is the README's

    assert capsys.readouterr().out.startswith("0.001 Kernel(")

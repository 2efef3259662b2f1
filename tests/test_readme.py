"""The README: what it says is so, and its commands work as they stand there, in a fresh clone."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from serving.settings import Settings

ROOT = Path(__file__).parent.parent
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
    return kept | {"HOME": str(home), "PATH": os.pathsep.join(path)}


def run(commands: str, folder: Path, environment: dict[str, str]) -> str:
    """Run commands as a shell would, each of which must end well, and return what they printed."""
    shell = ["bash", "-e", "-c", commands]
    finished = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_of_the_readme_work_in_a_fresh_clone(clone, stranger):
    with pytest.raises(httpx.TransportError):  # else the answers below would be another service's
        httpx.get(URL)
    log = clone.parent / "serve.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["bash", "-c", blocks_with("scripts/serve")],
            cwd=clone,
            env=stranger,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while "Ready at" not in log.read_text():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        answers = run(blocks_with("curl"), clone, stranger)
        tables = run(blocks_with("serving.client"), clone, stranger)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)

    label = (clone / "samples" / "labels.csv").read_text().splitlines()[1].partition(",")[2]
    assert f'"label":"{label}"' in answers
    assert answers.count('"is_drift":false') == 1
    assert answers.count('"p_value":0.001,"alpha":0.05,"is_drift":true') == 1
    assert "no drift" in tables
    assert '"is_drift": true' in tables

    few = stranger | {"PYTEST_ADDOPTS": "-k drift_reference"}  # all of them are running already
    assert re.search(r"\d+ passed", run(blocks_with("scripts/test"), clone, few))
    assert "Saved as mnist:" in run(blocks_with("train mnist").replace("30", "1"), clone, stranger)
    assert "Successfully built Bento" in run(blocks_with("bentoml build").splitlines()[0], clone, stranger)


def test_the_readme_lists_every_setting_with_its_default_and_meaning():
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\S+) \| (.+) \|$", README, re.MULTILINE)

    listed = {name.lower(): (default, meaning) for name, default, meaning in rows}
    assert listed.keys() == Settings.model_fields.keys()
    for name, field in Settings.model_fields.items():
        assert listed[name] == (str(field.default), field.description)

"""README, docs and CONTRIBUTING: what they say is so, and their commands work, in a fresh clone.

Every block of shell commands is run, in the order of the pages, but for those with a comment before them:
`<!-- not run: WHY -->`, or `<!-- needs: COMMAND -->` where that command is not installed.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import torch

from serving.settings import Settings
from tests.support.documentation import PAGES, ROOT, TEXT, Block, blocks

URL = "http://localhost:3000"
READY_WITHIN_SECONDS = 900
# What serves until it is stopped, and what it says when it is ready.
SERVERS = {
    "scripts/serve": "Ready at",
    "bentoml serve": "Service driftbento initialized",
    "torchserve --start": "WORKER_MODEL_LOADED",
}
# Added to what would take minutes. The first start trains and certifies for as long as it takes.
SHORTER = {
    ".venv/bin/python -m train mnist": " --epochs 1 --no-certificate",
    ".venv/bin/python -m drift fit": " --batches 50",
}
# Of the tests, those of one module: all of them are running already.
(MODULE,) = ROOT.glob("tests/**/test*_reference.py")
FEW_TESTS = {"PYTEST_ADDOPTS": str(MODULE.relative_to(ROOT)), "TEST_PROCESSES": "0"}
PYTHON = [block for block in blocks("python") if "localhost" not in block.code]  # others ask the service


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
    left_out = {"VIRTUAL_ENV", "BENTOML_HOME", "PYTHONPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    home = tmp_path / "home"
    home.mkdir()
    own = {"HOME": str(home), "PATH": os.pathsep.join(path), "KEY": "that-nobody-guesses"}
    return kept | own | FEW_TESTS


def run(commands: str, folder: Path, environment: dict[str, str]) -> str:
    """Run commands as a shell would, each of which must end well, and return what they printed."""
    shell = ["bash", "-e", "-c", commands]
    finished = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, commands + finished.stdout + finished.stderr
    return finished.stdout


@contextmanager
def running(command: str, folder: Path, environment: dict[str, str], *, until: str) -> Iterator[str]:
    """Run a command that goes on, from when it prints a text; give what it has printed by then."""
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
        yield log.read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def commands_of(block: Block) -> str:
    """Return a block's commands, as they are run here."""
    code = re.sub(r" +# .*", "", block.code)
    for command, more in SHORTER.items():
        code = re.sub(rf"^{re.escape(command)}.*", rf"\g<0>{more}", code, flags=re.MULTILINE)
    return code


def ready_text(commands: str) -> str | None:
    """Return what is printed when the last of some commands serves; None where it does not serve."""
    last = commands.splitlines()[-1]
    return next((ready for server, ready in SERVERS.items() if server in last), None)


def in_turn(pages: Sequence[Path]) -> list[tuple[str, str]]:
    """Return the blocks to run, as page and commands; one that stands in several pages is in the first.

    The first page starts a service. Pages that ask it follow, and then those that start another.
    """
    found = dict[str, str]()
    for block in blocks("sh", pages):
        if not block.not_run and (not block.needs or shutil.which(block.needs)):
            found.setdefault(commands_of(block), block.page.name)
    starting = {page for commands, page in found.items() if ready_text(commands)} - {pages[0].name}
    return sorted(((page, code) for code, page in found.items()), key=lambda block: block[0] in starting)


def run_all(to_run: Sequence[tuple[str, str]], folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Run blocks in turn, each service until the next one is started; return what each page has printed."""
    printed = defaultdict[str, str](str)
    with ExitStack() as service:
        for page, commands in to_run:
            ready = ready_text(commands)
            *first, last = commands.splitlines(keepends=True)
            printed[page] += run("".join(first) if ready else commands, folder, environment)
            if ready:
                service.close()
                printed[page] += service.enter_context(running(last, folder, environment, until=ready))
    return printed


@pytest.mark.thorough
@pytest.mark.timeout(5400)  # with what it downloads and trains, on a busy machine
def test_the_commands_of_the_pages_work_in_a_fresh_clone(clone, stranger):
    with pytest.raises(httpx.TransportError):  # else the answers below would be another service's
        httpx.get(URL)

    printed = run_all(in_turn(PAGES), clone, stranger)

    label = (clone / "samples" / "labels.csv").read_text().splitlines()[1].partition(",")[2]
    assert printed["README.md"].count('"is_drift":false') == 1
    for page in ("README.md", "image.md"):
        assert f'"label":"{label}"' in printed[page]
        assert printed[page].count('"p_value":0.001,"alpha":0.05,"is_drift":true') == 1
    assert "training one" in printed["README.md"]
    assert re.search(r"\d+ passed", printed["README.md"])
    assert "Alarms at 0.05" in printed["README.md"]
    assert "no drift" in printed["command-line.md"]
    assert printed["command-line.md"].count('"is_drift": true') == 2
    assert (clone / "samples" / "reference.safetensors").exists()
    version = re.search(r"Saved as (mnist:\w+)", printed["training.md"]).group(1)
    assert "Successfully built Bento" in printed["image.md"]
    assert f'"model":"{version}"' in printed["image.md"]
    assert "training one" not in printed["operations.md"]
    assert '"status": 401' in printed["operations.md"]
    assert f'"label":"{label}"' in printed["operations.md"]
    if shutil.which("java"):
        assert f'"{label}": 0.' in printed["torchserve.md"]


def test_a_block_is_run_unless_a_comment_says_why_not(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\nfirst\n```\n\n<!-- not run: takes an hour -->\n```sh\nsecond\n```\n\n"
        "<!-- needs: a-command-that-nobody-has -->\n```sh\nthird\n```\n\n```sh\nfourth\n```\n"
    )

    assert in_turn([page]) == [("page.md", "first\n"), ("page.md", "fourth\n")]


def test_the_pages_list_every_setting_with_its_default_and_meaning():
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\S+) \| (.+) \|$", TEXT, re.MULTILINE)

    listed = {name.lower(): (default, meaning) for name, default, meaning in rows}
    assert listed.keys() == Settings.model_fields.keys()
    for name, field in Settings.model_fields.items():
        default = "unset" if field.default is None else str(field.default)
        assert listed[name] == (default, field.description)


@pytest.mark.parametrize("example", PYTHON, ids=lambda block: block.page.name)
def test_an_example_in_python_finds_the_drift_that_it_makes(example, capsys):
    torch.manual_seed(0)

    exec(example.code, {})  # noqa: S102 - it is the pages' own

    assert capsys.readouterr().out.startswith("0.001")

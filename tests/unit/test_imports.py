"""Who may import whom: each package imports only those below it, and brings no more than it may."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has after a statement."""
    code = f"{statement}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    return set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        (
            "import drift",
            {"bentoml", "_bentoml_sdk", "serving", "train", "service", "torchvision", "matplotlib"},
        ),
        (
            "import serving.endpoints.classify, cli.client",
            {"bentoml", "_bentoml_sdk", "train", "torchvision", "matplotlib"},
        ),
        (
            "import deploy.torchserve.handler",
            {"bentoml", "drift", "pydantic", "safetensors", "starlette", "torchdrift", "torchvision"},
        ),
        (
            "import service",  # as the process that starts the workers does, which is to be light
            {"torch", "scipy", "numpy", "PIL", "drift", "train", "torchvision", "sklearn", "matplotlib"},
        ),
        (
            "import serving.app",
            {"bentoml", "_bentoml_sdk", "train", "torchvision", "sklearn", "mlxtend", "matplotlib"},
        ),
        ("import train.data, train.torchserve", {"serving", "service"}),
        ("import cli.train_commands", {"mlxtend", "sklearn", "torchvision"}),
        ("import train.pens", {"bentoml", "drift", "pydantic", "prometheus_client", "service", "starlette"}),
    ],
)
def test_a_package_brings_only_what_it_may(statement, forbidden):
    assert not modules_after(statement) & forbidden


@pytest.fixture
def house(tmp_path) -> Path:
    """A copy of everything that import-linter looks at."""
    (tmp_path / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    for package in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "root_packages"
    ]:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=house, capture_output=True, text=True, check=False)


def test_every_import_leads_downwards(house):
    linted = lint(house)

    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize(
    ("additions", "broken"),
    [
        ({"drift/new.py": "import vision.errors"}, "drift is not allowed to import vision"),
        ({"vision/new.py": "from serving import settings"}, "vision is not allowed to import serving"),
        ({"serving/new.py": "import bentoml"}, "serving is not allowed to import bentoml"),
        ({"vision/new.py": "import starlette"}, "vision is not allowed to import starlette"),
        ({"bento/store.py": "import vision.errors"}, "bento.store is not allowed to import vision"),
        ({"study/new.py": "import cli.terminal"}, "study is not allowed to import cli"),
        (
            {"train/new.py": "import bento.new", "bento/new.py": "import serving.settings"},
            "train is not allowed to import serving",
        ),
    ],
    ids=[
        "statistics that know images",
        "images that know HTTP",
        "the service that knows BentoML",
        "images that know a web framework",
        "a store that knows models",
        "the study that knows the command line",
        "training that reaches the service through the store's room",
    ],
)
def test_an_import_that_leads_upwards_is_refused(house, additions, broken):
    for file, statement in additions.items():
        with (house / file).open("a") as opened:
            opened.write(f"{statement}\n")

    linted = lint(house)

    assert linted.returncode == 1
    assert broken in linted.stdout

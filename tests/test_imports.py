"""Who may import whom: what design says, the lint enforces."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


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
            "import serving.answers, serving.client",
            {"bentoml", "_bentoml_sdk", "train", "torchvision", "matplotlib"},
        ),
        (
            "import serving.torchserve_handler",
            {"bentoml", "drift", "pydantic", "safetensors", "starlette", "torchdrift", "torchvision"},
        ),
        (
            "import service",  # as the process that starts the workers does, which is to be light
            {"torch", "scipy", "numpy", "PIL", "drift", "train", "torchvision", "sklearn", "matplotlib"},
        ),
        (
            "import serving.application",
            {"bentoml", "_bentoml_sdk", "train", "torchvision", "sklearn", "mlxtend", "matplotlib"},
        ),
        ("import train.data, train.torchserve", {"serving", "service"}),
        ("import train.commands", {"mlxtend", "sklearn", "torchvision"}),
        ("import train.pens", {"bentoml", "drift", "pydantic", "prometheus_client", "service", "starlette"}),
    ],
)
def test_a_package_brings_only_what_it_may(statement, forbidden):
    assert not modules_after(statement) & forbidden


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("drift/new.py", "import bentoml"),
        ("drift/new.py", "from serving import models"),
        ("serving/new.py", "import bentoml"),
        ("serving/new.py", "from train.data import load_mnist"),
        ("train/new.py", "import bentoml"),
        ("train/new.py", "import serving.models"),
        ("train/publish.py", "import serving.models"),
        ("service.py", "from train import mnist"),
    ],
    ids=lambda text: text,
)
def test_the_lint_refuses_what_must_not_be_imported(file, statement):
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", file, "-"]

    checked = subprocess.run(
        command, cwd=ROOT, input=statement + "\n", capture_output=True, text=True, check=False
    )

    assert checked.returncode == 1
    assert "TID251" in checked.stdout

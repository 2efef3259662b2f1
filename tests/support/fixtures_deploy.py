"""Fixtures: what the image is made of, and how it is pushed."""

import re
import subprocess
from collections.abc import Callable

import pytest

from tests.support.processes import ROOT


@pytest.fixture(scope="session")
def locked_versions() -> dict[str, str]:
    """The version of every package of the image's lock."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))


@pytest.fixture
def push(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs scripts/push, and checks that it leaves no file behind."""

    def run_push(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        beside = tmp_path / "temporary"
        beside.mkdir(exist_ok=True)
        finished = subprocess.run(
            [str(ROOT / "scripts" / "push"), *arguments],
            env=environment | {"TMPDIR": str(beside)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert list(beside.iterdir()) == []
        return finished

    return run_push

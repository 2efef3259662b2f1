"""Folders that are made once for all of the tests' processes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def own_home(home: Path, factory: pytest.TempPathFactory) -> Path:
    """Return a BENTOML_HOME with the models of another, since in one services empty each other's metrics."""
    own = factory.mktemp("home")
    (own / "models").symlink_to(home / "models")
    return own


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which then takes the place of another."""
    unfinished = folder.with_suffix(".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    yield unfinished
    unfinished.rename(folder)

"""Folders that are made once for all of the tests' processes."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def own_home(home: Path, factory: pytest.TempPathFactory) -> Path:
    """Return a BENTOML_HOME with the models of another, in which nothing else is."""
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


def on_small_disk(home: Path, size: str, then: str = "true") -> list[str]:
    """Return what to put before a command whose BENTOML_HOME, a folder, is to be a disk of some size.

    Args:
        home: The folder.
        size: As mount takes it.
        then: What the shell does first, there.
    """
    return with_mounts(home, f'mount -t tmpfs -o size={size} tmpfs "$BENTOML_HOME" && {then}')


def with_mounts(home: Path, mount: str) -> list[str]:
    """Return what to put before a command that is to find other file systems than everybody else.

    Args:
        home: The BENTOML_HOME that it has.
        mount: Commands for a shell, which mount them.
    """
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    environment = os.environ | {"BENTOML_HOME": str(home)}
    tried = subprocess.run([*command, "true"], env=environment, capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"needs to mount file systems: {tried.stderr.decode().strip()}")
    return command

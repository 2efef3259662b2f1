"""Folders as BENTOML_HOME: with the models of another, on a small disk, with file systems of their own."""

import os
import subprocess
from pathlib import Path

import pytest


def own_home(home: Path, factory: pytest.TempPathFactory) -> Path:
    """Return a BENTOML_HOME with the models of another, in which nothing else is."""
    own = factory.mktemp("home")
    (own / "models").symlink_to(home / "models")
    return own


def model_in(home: Path, name: str) -> Path:
    """Return the folder with the files of the newest model of a name."""
    models = home / "models" / name
    return models / (models / "latest").read_text()


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

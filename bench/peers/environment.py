"""The Python environment of the peers: their own packages, and this project's torch and Pillow.

It is a folder in the checkout that git ignores, and is made again when a pin changes.
"""

import hashlib
import shutil
import subprocess
import sysconfig
from functools import cache
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from bench.processes import ROOT, python

PEERS = (
    "fastapi==0.165.0",
    "litserve==0.2.19",
    "python-multipart==0.0.34",
    "pyyaml==6.0.3",
    "torch-model-archiver==0.12.0",
    "torchserve==0.12.0",
    "uvicorn[standard]==0.54.0",
)
WITHOUT_DEPENDENCIES = ("captum==0.9.0",)  # TorchServe imports it; its dependencies would install torch again
SHARED = ("pillow",)  # installed in this project's version, for equally fast decoding


class PeersUnavailableError(Exception):
    """The peers' packages cannot be installed."""


def interpreter() -> Path:
    """Return the Python interpreter of the peers' environment, which is made if it is missing.

    Raises:
        PeersUnavailableError: It cannot be made.
    """
    made = make()
    if isinstance(made, PeersUnavailableError):
        raise made
    return made


@cache  # keeps a failure too, since each attempt without a network takes long
def make() -> Path | PeersUnavailableError:
    """Return the interpreter, or the error where the environment cannot be made."""
    home = Path(sysconfig.get_path("purelib"))
    pins = [*PEERS, *(f"{name}=={version(name)}" for name in SHARED)]
    key = hashlib.sha256("\n".join([*pins, *WITHOUT_DEPENDENCIES, str(home)]).encode()).hexdigest()[:16]
    folder = ROOT / ".bench" / f"peers-{key}"
    found = folder / "bin" / "python"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            try:
                install(folder, found, pins, home)
            except PeersUnavailableError as error:
                return error
            (folder / "complete").touch()
    return found


def install(folder: Path, interpreter: Path, pins: list[str], home: Path) -> None:
    uv(["venv", "--python", python("")[0], str(folder)])
    into = ["pip", "install", "--python", str(interpreter)]
    uv([*into, *pins])
    uv([*into, "--no-deps", *WITHOUT_DEPENDENCIES])
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "project.pth").write_text(f"{home}\n")  # searched after the environment's own packages


def uv(arguments: list[str]) -> None:
    finished = subprocess.run(
        python("uv", "--quiet", *arguments), stderr=subprocess.PIPE, text=True, check=False
    )
    if finished.returncode:
        reason = " ".join(finished.stderr.split()) or f"uv ended with status {finished.returncode}"
        raise PeersUnavailableError(f"The peers' packages could not be installed: {reason}")

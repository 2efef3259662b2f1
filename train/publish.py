"""Putting a model into the BentoML store, whole or not at all."""

import errno
import hashlib
import io
import json
import os
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bento import store
from drift import Reference
from train.errors import BrokenModelError, NoRoomError

Metadata = Mapping[str, str | int | float | bool | list[str]]
Fit = Callable[[Path], Reference]


def publish(
    name: str,
    model: nn.Module,
    *,
    labels: Sequence[str],
    reference: Reference | Fit | None,
    golden_images: Tensor,
    metadata: Metadata,
) -> str:
    """Save a trained classifier as a new version of a model in the store, and return its tag, name:version.

    The version appears under its name in one rename, once every file is written: a training that is killed
    leaves the store as it was.

    Args:
        name: The model's name in the store.
        model: Takes uint8 (B, C, H, W), returns logits (B, K) and features (B, D); it is scripted here.
        labels: The K class names, in the order of the logits.
        reference: What drift is measured against, where there is one; or a function that fits it, given the
            folder of the stored model.
        golden_images: A few inputs, whose outputs every machine that loads the model must find again.
        metadata: What a reader of `GET /models` wants to know; date, torch's version, commit and the files'
            checksums are added.

    Raises:
        BrokenModelError: Its answers are not finite.
        NoRoomError: It does not fit on the disk.
    """
    with wanting_room(), store.adding(name) as added:
        write_files(added.folder, model, labels, reference, golden_images)
        added.metadata.update(dict[str, Any](metadata) | provenance(added.folder))
    return added.tag


@contextmanager
def wanting_room() -> Iterator[None]:
    """Write something large, and say so if there is no room for it.

    Raises:
        NoRoomError: There is none.
    """
    try:
        yield
    except Exception as error:
        if os.strerror(errno.ENOSPC) not in str(error):  # each library has an error of its own for it
            raise
        raise NoRoomError(
            f"There is no room for the model in {store.location()}, or in {tempfile.gettempdir()}, where it "
            "is made. Make some, or name other folders in BENTOML_HOME and TMPDIR. The store is as it was."
        ) from error


def write_files(
    folder: Path,
    model: nn.Module,
    labels: Sequence[str],
    reference: Reference | Fit | None,
    golden_images: Tensor,
) -> None:
    script = save_script(model, folder / "model.pt")
    (folder / "labels.json").write_text(json.dumps(list(labels)))
    with torch.inference_mode():
        logits, features = script(golden_images)
    if not (logits.isfinite().all() and features.isfinite().all()):
        raise BrokenModelError("The model's answers are not finite: there are faults in its weights.")
    save_file(
        {"images": golden_images, "logits": logits, "features": features}, folder / "golden.safetensors"
    )
    if callable(reference):
        reference = reference(folder)
    if reference is not None:
        reference.save(folder / "reference.safetensors")


def save_script(model: nn.Module, path: Path) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        # TorchScript is what this project ships: one file that runs without the code that made it.
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.(script|save).* is deprecated")
        script: torch.jit.ScriptModule = torch.jit.script(model.eval())
        # Into memory first: where torch writes to a disk that is full, it ends the process.
        buffer = io.BytesIO()
        torch.jit.save(script, buffer)
    path.write_bytes(buffer.getbuffer())
    return script


def provenance(folder: Path) -> dict[str, str]:
    files = {"weights": "model.pt", "golden": "golden.safetensors", "labels": "labels.json"}
    if (folder / "reference.safetensors").exists():
        files["reference"] = "reference.safetensors"
    return {
        **{f"{what}_sha256": checksum(folder / file) for what, file in files.items()},
        "torch": str(torch.__version__),  # a subclass of str that YAML cannot write
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def commit() -> str:
    """Return the commit that this code comes from, or `unknown` outside a git checkout."""
    here = Path(__file__).parent
    question = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        asked = subprocess.run(question, cwd=here, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine
        return "unknown"
    return asked.stdout.strip() or "unknown"

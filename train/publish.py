"""Save a trained model in the BentoML store, as a whole or not at all."""

import errno
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from bento import store
from drift import Reference
from train.errors import BrokenModelError, NoRoomError
from vision.models import bundle

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
        reference: The drift reference, if there is one; or a function that fits it, given the folder of the
            stored model.
        golden_images: A few inputs, for which every machine that loads the model must get the same outputs.
        metadata: What a reader of `GET /models` wants to know; date, torch's version, commit and the files'
            checksums are added.

    Raises:
        BrokenModelError: The model's answers are not finite.
        NoRoomError: The model does not fit on the disk.
    """
    with disk_space(), store.adding(name) as added:
        logits, features = bundle.write(added.folder, model, labels, golden_images)
        if not (logits.isfinite().all() and features.isfinite().all()):
            raise BrokenModelError("The model's answers are not finite: there are faults in its weights.")
        if callable(reference):
            reference = reference(added.folder)
        if reference is not None:
            reference.save(added.folder / bundle.REFERENCE)
        added.metadata.update(metadata)
        added.metadata.update(bundle.checksums(added.folder))
        added.metadata["torch"] = str(torch.__version__)  # a subclass of str that YAML cannot write
        added.metadata["commit"] = commit()
        added.metadata["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    return added.tag


@contextmanager
def disk_space() -> Iterator[None]:
    """Report a full disk in words that say what to do.

    Raises:
        NoRoomError: The disk is full.
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


def commit() -> str:
    """Return the commit that this code comes from, or `unknown` outside a git checkout."""
    here = Path(__file__).parent
    question = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        asked = subprocess.run(question, cwd=here, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine
        return "unknown"
    return asked.stdout.strip() or "unknown"

"""The files of a stored model, read and written by this module alone.

model.pt               TorchScript: uint8 (B, C, H, W) to logits (B, K) and features (B, D), float32
labels.json            the K class names, in the order of the logits
golden.safetensors     a few `images`, with the `logits` and `features` that training got for them
reference.safetensors  the drift reference; optional

The model's metadata, kept in model.yaml by the store, holds a SHA-256 checksum of each file and names the
preprocessing of images.
"""

import hashlib
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save_file
from torch import Tensor, nn

from drift import InvalidReferenceError, Reference
from vision.errors import MEND, ModelNotLoadedError
from vision.models.engine import Choice, Engine, Outputs, load_engine, script_warnings_ignored
from vision.preprocessing.registry import Preparation, preparation_of

logger = logging.getLogger("bentoml.driftbento")  # BentoML shows only what its own loggers say

SCRIPT, GOLDEN, LABELS = "model.pt", "golden.safetensors", "labels.json"
REFERENCE, METADATA = "reference.safetensors", "model.yaml"
GOLDEN_TENSORS = ("images", "logits", "features")
CHECKSUMS = {  # the name of each file's checksum in the metadata
    SCRIPT: "weights_sha256",
    GOLDEN: "golden_sha256",
    LABELS: "labels_sha256",
    REFERENCE: "reference_sha256",
}


class Bundle(NamedTuple):
    """The contents of a stored model, checked and ready for use."""

    labels: Sequence[str]
    reference: Reference | None
    engine: Engine
    preparation: Preparation


def write(folder: Path, model: nn.Module, labels: Sequence[str], golden_images: Tensor) -> Outputs:
    """Write a model's script, class names and golden answers, and return these answers.

    Args:
        folder: The model's folder in the store.
        model: Takes uint8 (B, C, H, W), returns logits (B, K) and features (B, D); it is scripted here.
        labels: The K class names, in the order of the logits.
        golden_images: A few inputs.
    """
    with script_warnings_ignored():
        script: torch.jit.ScriptModule = torch.jit.script(model.eval())
        buffer = io.BytesIO()  # torch ends the process when it writes to a full disk; Python raises
        torch.jit.save(script, buffer)
    (folder / SCRIPT).write_bytes(buffer.getbuffer())
    (folder / LABELS).write_text(json.dumps(list(labels)))
    with torch.inference_mode():
        logits, features = script(golden_images)
    save_file({"images": golden_images, "logits": logits, "features": features}, folder / GOLDEN)
    return logits, features


def checksums(folder: Path) -> dict[str, str]:
    """Return the checksums of a model's files, by their names in the metadata."""
    return {name: checksum(folder / file) for file, name in CHECKSUMS.items() if (folder / file).exists()}


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(folder: Path, tag: str, metadata: Mapping[str, Any], *, precision: Choice) -> Bundle:
    """Return a stored model whose files are complete, fit each other, and give the golden answers.

    Args:
        folder: The model's folder in the store.
        tag: Its name:version, for messages.
        metadata: Its metadata in the store.
        precision: Of the weights, if the model can be run in it.

    Raises:
        ModelNotLoadedError: A file is missing or damaged, or the golden check fails.
    """
    for file in CHECKSUMS:
        with reading(file, tag):
            check_checksum(folder / file, metadata)
    with reading(GOLDEN, tag):
        golden = read_golden(folder)
    with reading(SCRIPT, tag):
        takes = metadata.get("precisions", ["float32"])
        engine = load_engine(folder / SCRIPT, golden, takes=takes, precision=precision)
    with reading(LABELS, tag):
        labels = read_labels(folder)
    with reading(REFERENCE, tag):
        reference = Reference.load(folder / REFERENCE) if (folder / REFERENCE).exists() else None
    with reading(METADATA, tag):
        check_labels(labels, golden)
        if reference is not None:
            check_reference(reference, golden, metadata)
        preparation = preparation_of(metadata)
    return Bundle(labels, reference, engine, preparation)


@contextmanager
def reading(file: str, tag: str) -> Iterator[None]:
    """Turn any error into one that names the model and the file at fault, and log its traceback."""
    try:
        yield
    except ModelNotLoadedError as error:
        raise ModelNotLoadedError(f"{tag}: {error.detail}") from error
    except Exception as error:
        logger.exception("%s of %s could not be loaded", file, tag)
        fault = "is damaged"
        if isinstance(error, FileNotFoundError):
            fault = "is missing"
        elif isinstance(error, (OSError, MemoryError)):
            fault = f"cannot be read ({type(error).__name__})"
        elif isinstance(error, InvalidReferenceError):
            fault = "is damaged, or comes from another version of this software"
        raise ModelNotLoadedError(f"{tag}: {file} {fault}. {MEND}") from error


def read_golden(folder: Path) -> dict[str, Tensor]:
    """Return the golden images, logits and features of a stored model.

    Raises:
        ValueError: One of them is missing.
    """
    # Not mapped into memory: truncating a mapped file would kill this process.
    golden = load((folder / GOLDEN).read_bytes())
    if missing := sorted(set(GOLDEN_TENSORS) - golden.keys()):
        raise ValueError(f"{folder / GOLDEN} lacks {', '.join(missing)}.")
    return golden


def read_labels(folder: Path) -> Any:
    """Return the class names of a stored model, or whatever else the file holds if it is damaged."""
    return json.loads((folder / LABELS).read_text())


def check_checksum(path: Path, metadata: Mapping[str, Any]) -> None:
    """Refuse a file that is missing or differs from its checksum, if the metadata has one."""
    expected = metadata.get(CHECKSUMS[path.name])
    if expected is not None and checksum(path) != expected:
        raise ModelNotLoadedError(
            f"{path.name} is damaged or another model's: its checksum is not the one in {METADATA}. {MEND}"
        )


def check_labels(labels: Any, golden: Mapping[str, Tensor]) -> None:
    """Refuse labels that are not one name for each logit."""
    n_classes = golden["logits"].shape[1]
    are_names = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    if not are_names or len(labels) != n_classes:
        raise ModelNotLoadedError(f"{LABELS} does not hold {n_classes} names, one for each class. {MEND}")


def check_reference(reference: Reference, golden: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Refuse a drift reference that is not of this model's features and classes."""
    for what, found, expected in (
        ("features", reference.features.shape[1], golden["features"].shape[1]),
        ("classes", reference.probabilities.shape[1], golden["logits"].shape[1]),
    ):
        if found != expected and not (what == "classes" and found == 0):
            raise ModelNotLoadedError(f"{REFERENCE} has {found} {what}; the model has {expected}. {MEND}")
    if reference.source not in ("", metadata.get(CHECKSUMS[SCRIPT])):
        raise ModelNotLoadedError(f"{REFERENCE} holds another model's features. {MEND}")

"""The file format of references: safetensors, with a version and a checksum of everything in it."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from drift.errors import InvalidReferenceError

FORMAT = "driftbento-reference"
VERSION = 3


def pack(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """Return tensors and facts as the bytes of a safetensors file."""
    written = json.dumps(facts, sort_keys=True)
    header = {"version": VERSION, "sha256": checksum(tensors, written), "facts": written}
    return save({name: tensor.contiguous() for name, tensor in tensors.items()}, {FORMAT: json.dumps(header)})


def unpack(data: bytes, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and facts of a file that `pack` made.

    Raises:
        InvalidReferenceError: It is damaged, is something else, or comes from another version.
    """
    try:
        tensors = load(data)
        header_length = int.from_bytes(data[:8], "little")
        # safetensors reads the header too, but does not return its metadata.
        metadata = json.loads(data[8 : 8 + header_length]).get("__metadata__", {})
        header = json.loads(metadata.get(FORMAT, "{}"))
    except (SafetensorError, ValueError, AttributeError) as error:
        raise InvalidReferenceError(f"{name} is damaged, or no drift reference.") from error
    if not isinstance(header, dict) or header.get("version") != VERSION:
        raise InvalidReferenceError(
            f"{name} is no drift reference of format version {VERSION}: fit it again with this version."
        )
    facts = header.get("facts")
    if not isinstance(facts, str) or header.get("sha256") != checksum(tensors, facts):
        raise InvalidReferenceError(
            f"{name} is damaged: its checksum does not fit. Copy it again, or fit it again."
        )
    return tensors, json.loads(facts)


def checksum(tensors: Mapping[str, Tensor], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.contiguous().numpy()))  # type: ignore[arg-type] # arrays are buffers
    return digest.hexdigest()


def write(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    beside = path.with_name(path.name + ".partial")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise

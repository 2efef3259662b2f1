"""Samples in files: features in NumPy files, and images in IDX files."""

import gzip
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from drift.checks import check_probabilities
from drift.errors import NotProbabilitiesError, UnreadableSamplesError

Array = npt.NDArray[np.generic]

NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK"
GZIP_MAGIC = b"\x1f\x8b"
IDX_UINT8_MAGIC = b"\0\0\x08"


@dataclass(frozen=True)
class Samples:
    """The features of N samples.

    Attributes:
        names: A name for each sample.
        features: Shape (N, d), float32.
        probabilities: Softmax outputs, shape (N, K), where they are known.
    """

    names: Sequence[str]
    features: Tensor
    probabilities: Tensor | None


def read_features(paths: Sequence[Path]) -> Samples | None:
    """Return the features that NumPy files hold, or None where none of them does.

    Args:
        paths: `.npy` files of features, or `.npz` files with `features`, and `probabilities` beside them
            where there are any.

    Raises:
        UnreadableSamplesError: A file is damaged; or some hold features, and others something else.
        OSError: A file cannot be read at all.
    """
    found = [(path, features_in(path)) for path in paths]
    parts = [(path, part) for path, part in found if part is not None]
    if not parts:
        return None
    if len(parts) < len(found):
        other = next(path for path, part in found if part is None)
        raise UnreadableSamplesError(
            f"{parts[0][0]} holds features, and {other} something else. Take either features or images."
        )
    widths = {tuple(None if matrix is None else matrix.shape[1] for matrix in part) for _, part in parts}
    if len(widths) > 1:
        raise UnreadableSamplesError("The files hold features, or softmax outputs, of different widths.")
    names = [f"{path.name}[{index}]" for path, (features, _) in parts for index in range(len(features))]
    features = torch.cat([features for _, (features, _) in parts])
    outputs = [outputs for _, (_, outputs) in parts if outputs is not None]
    return Samples(names, features, torch.cat(outputs) if outputs else None)


def features_in(path: Path) -> tuple[Tensor, Tensor | None] | None:
    """Return the features in a file, and the softmax outputs beside them; None where it holds no features."""
    if path.is_dir():
        return None
    with path.open("rb") as file:
        start = file.read(len(NPY_MAGIC))
    if start != NPY_MAGIC and not start.startswith(ZIP_MAGIC):
        return None
    arrays = read_arrays(path)
    features = arrays.get("features", next(iter(arrays.values())) if len(arrays) == 1 else None)
    if features is None or (features.dtype == np.uint8 and "features" not in arrays):
        return None
    matrix = as_matrix(path, features)
    if "probabilities" not in arrays:
        return matrix, None
    outputs = as_matrix(path, arrays["probabilities"])
    if len(outputs) != len(matrix):
        raise UnreadableSamplesError(
            f"{path} holds {len(matrix)} features, and softmax outputs of {len(outputs)} samples."
        )
    try:
        check_probabilities(outputs)
    except NotProbabilitiesError as error:
        raise UnreadableSamplesError(f"{path}: {error}") from error
    return matrix, outputs


def as_matrix(path: Path, array: Array) -> Tensor:
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise UnreadableSamplesError(
            f"{path} holds {array.dtype} of shape {array.shape}. Features are (samples, features) of "
            "floating-point numbers; images are uint8."
        )
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if (np.isinf(values) & np.isfinite(array)).any():
        raise UnreadableSamplesError(f"{path} holds values that are too large for float32.")
    return torch.from_numpy(values)


def read_arrays(path: Path) -> Mapping[str, Array]:
    """Return the arrays of a `.npy` or `.npz` file by name; none where it is an archive of something else.

    Raises:
        UnreadableSamplesError: The file is damaged.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            # An archive with any other file in it is one of images.
            only_arrays = all(name.endswith(".npy") for name in loaded.zip.namelist())
            return {name: loaded[name] for name in loaded.files} if only_arrays else {}
    except Exception as error:  # NumPy, zipfile and its decompressors raise a dozen types on damaged files
        raise UnreadableSamplesError(
            f"{path} is damaged, or holds objects. Save arrays of numbers, with numpy.save or numpy.savez."
        ) from error


def read_idx(path: Path) -> npt.NDArray[np.uint8] | None:
    """Return the images of an IDX file, shape (N, H, W), uint8; None where it is no IDX file.

    Source:
        The format of MNIST's own files: two zero bytes, the type, the number of dimensions, their sizes as
        big-endian int32, and the values in row-major order.

    Raises:
        UnreadableSamplesError: The file is damaged, or holds no images.
    """
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == GZIP_MAGIC
        with gzip.open(path) if compressed else path.open("rb") as file:
            start = file.read(len(IDX_UINT8_MAGIC))
            data = start + file.read() if start == IDX_UINT8_MAGIC else b""
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableSamplesError(f"{path} is damaged: it cannot be unpacked to its end.") from error
    if not data:
        return None
    dimensions = data[3] if len(data) > 3 else 0
    header = 4 + 4 * dimensions
    if len(data) < header:
        raise UnreadableSamplesError(f"{path} is damaged: it ends within its header.")
    shape = tuple(np.frombuffer(data[4:header], dtype=">i4").tolist())
    values = np.frombuffer(data, dtype=np.uint8, offset=header)
    if min(shape, default=0) < 0 or math.prod(shape) != len(values):
        raise UnreadableSamplesError(f"{path} is damaged: its size is not that of {shape} values.")
    if dimensions != 3:
        raise UnreadableSamplesError(
            f"{path} holds values of shape {shape}. Images are (images, height, width)."
        )
    return values.reshape(shape)

"""Read `.npy` files of images without copying or unpickling them, and without trusting their headers."""

import ast
import math
import struct

import numpy as np

from vision.errors import Problem, UndecodableImageError, echo
from vision.images.decode import Pixels

NPY_MAGIC = b"\x93NUMPY"
LENGTH_OF_HEADER = {(1, 0): "<H", (2, 0): "<L"}
MAX_HEADER_BYTES = 512  # a plain array's has about 80; a long Python literal takes long to parse
UINT8 = ("|u1", "<u1", ">u1", "=u1", "u1")
CHANNELS = (1, 3, 4)
ARRAY_SHAPES = "uint8 of shape (images, height, width), (images, height, width, 1, 3 or 4) or channels first"


def read_array(filename: str, data: bytes) -> Pixels:
    """Return the array of a `.npy` file of uint8.

    Raises:
        UndecodableImageError: It is damaged, or an array of something else.
    """
    try:
        header, offset = read_header(filename, data)
        shape, column_major, kind = header["shape"], header["fortran_order"], header["descr"]
        # The description of any other type is not even parsed: it may ask for unpickling.
        if kind not in UINT8:
            raise UndecodableImageError(f"{filename} holds {echo(kind)}. Send {ARRAY_SHAPES}.")
        if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
            raise UndecodableImageError(f"{filename} has the shape {echo(shape)}. Send {ARRAY_SHAPES}.")
        pixels = np.frombuffer(data, dtype=np.uint8, offset=offset)
        if pixels.size != math.prod(shape):
            raise UndecodableImageError(
                f"{filename} is damaged: it has {pixels.size:,} bytes for the shape {echo(shape)}. "
                "Send it again."
            )
        return pixels.reshape(shape, order="F" if column_major else "C")
    except (Problem, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - a Python literal can be wrong in a dozen ways
        raise UndecodableImageError(f"{filename} is a damaged NumPy file. Send it again.") from None


def read_header(filename: str, data: bytes) -> tuple[dict[str, object], int]:
    """Return the header of a `.npy` file, and the offset of the array."""
    version = data[6], data[7]
    if version not in LENGTH_OF_HEADER:
        raise UndecodableImageError(
            f"{filename} is a damaged NumPy file, or of version {version[0]}.{version[1]}. Send version 1.0."
        )
    length_format = LENGTH_OF_HEADER[version]
    start = len(NPY_MAGIC) + 2 + struct.calcsize(length_format)
    (length,) = struct.unpack_from(length_format, data, len(NPY_MAGIC) + 2)
    if length > MAX_HEADER_BYTES:
        raise UndecodableImageError(
            f"{filename} is a damaged NumPy file: its header has over {MAX_HEADER_BYTES} bytes."
        )
    header = ast.literal_eval(bytes(data[start : start + length]).decode("latin-1").strip())
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise UndecodableImageError(f"{filename} is a damaged NumPy file. Send {ARRAY_SHAPES}.")
    return header, start + length


def as_images(array: Pixels) -> Pixels:
    """Return an array of images as (images, height, width) or (images, height, width, 3 or 4).

    Raises:
        UndecodableImageError: It has another shape.
    """
    if array.ndim == 4 and array.shape[3] not in CHANNELS and array.shape[1] in CHANNELS:
        array = np.moveaxis(array, 1, 3)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    well_formed = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in CHANNELS)
    if not well_formed or 0 in array.shape[1:]:
        raise UndecodableImageError(f"The array's shape is {array.shape}. Send {ARRAY_SHAPES}.")
    return array

"""From uploads to a batch of model inputs: image files, or all the images of one NumPy file or zip archive.

Pictures are decoded and prepared one after the other, so that only one of them is ever in memory at its full
size.
"""

import io
import math
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from serving.errors import MalformedRequestError, Problem, TooLargeError, UndecodableImageError
from serving.images import Pixels, check_content_type, decode_image
from serving.preparations import Preparation
from serving.settings import Settings
from serving.uploads import Upload

NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # with members, and empty
CHANNELS = (1, 3, 4)
PAUSE_EVERY, PAUSE_SECONDS = 4, 2e-4
Pictures = Iterator[tuple[str, Image.Image | Problem]]

ARRAY_SHAPES = "uint8 of shape (images, height, width), (images, height, width, 1, 3 or 4) or channels first"


@dataclass(frozen=True)
class Item:
    """An image of a batch as its model takes it, or the problem that it has."""

    index: int
    filename: str
    content: Pixels | Problem


def read_batch(
    uploads: list[Upload],
    limits: Settings,
    preparation: Preparation,
    *,
    archives: bool,
    checkpoint: Callable[[], None] = lambda: None,
) -> list[Item]:
    """Decode and prepare what was uploaded, in order. A file that is no image becomes a problem in its place.

    Args:
        uploads: The files of one request.
        limits: How many images, of how many pixels, and how many bytes an archive may unpack to.
        preparation: Makes a picture into what the model takes.
        archives: Whether one `.npy`, `.npz` or `.zip` may stand for many images.
        checkpoint: Called before each picture is decoded; what it raises ends the work.

    Raises:
        MalformedRequestError: An archive came with other files.
        UndecodableImageError: An archive cannot be read, or its array holds no images.
        TooLargeError: An archive holds too much.
    """
    pictures = open_pictures(uploads, limits, preparation.draft_side, archives=archives)
    return [
        Item(index, name, picture if isinstance(picture, Problem) else preparation.prepare(picture))
        for index, (name, picture) in enumerate(giving_way(pictures, checkpoint))
    ]


def giving_way(pictures: Pictures, checkpoint: Callable[[], None]) -> Pictures:
    """Give pictures as they are, with a look before each and a short pause after every few of many.

    Pillow gives up Python's lock many times for each picture, and takes it back before another thread has
    woken up to take it. Without pauses a thread that decodes a thousand keeps the others from theirs.
    """
    checkpoint()
    for index, picture in enumerate(pictures, 1):
        yield picture
        checkpoint()
        if index % PAUSE_EVERY == 0:
            time.sleep(PAUSE_SECONDS)


def open_pictures(
    uploads: list[Upload], limits: Settings, draft_side: int | None, *, archives: bool
) -> Pictures:
    """Return the pictures of all uploads, by name, each decoded when it is asked for."""
    held = [upload for upload in uploads if archives and is_archive(upload.data)]
    if not held:
        return ((upload.filename, decode_upload(upload, limits, draft_side)) for upload in uploads)
    if len(uploads) > 1:
        raise MalformedRequestError(f"{held[0].filename} holds many images. Send it alone.")
    if held[0].data.startswith(NPY_MAGIC):
        return array_pictures(held[0].filename, held[0].data, limits)
    return archive_pictures(held[0], limits, draft_side)


def is_archive(data: bytes) -> bool:
    return data.startswith((NPY_MAGIC, *ZIP_MAGIC))


def decode_upload(upload: Upload, limits: Settings, draft_side: int | None) -> Image.Image | Problem:
    try:
        check_content_type(upload.content_type)
        return decode_image(upload.data, max_pixels=limits.max_pixels, draft_side=draft_side)
    except Problem as problem:
        return problem


def archive_pictures(upload: Upload, limits: Settings, draft_side: int | None) -> Pictures:
    """Return the pictures of a zip archive, or of the array in an `.npz`."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(upload.data))
        check_archive_size(archive.infolist(), limits)
        members = [member for member in archive.infolist() if not is_hidden(member)]
        if members and all(member.filename.endswith(".npy") for member in members):
            wanted = [member for member in members if member.filename == "images.npy"] or members
            if len(wanted) > 1:
                names = ", ".join(member.filename.removesuffix(".npy") for member in members)
                raise UndecodableImageError(
                    f"{upload.filename} holds the arrays {names}. Call one of them images."
                )
            return array_pictures(upload.filename, archive.read(wanted[0]), limits)
        contents = [(member.filename, archive.read(member)) for member in members]
    except Problem:
        raise
    except Exception as error:  # noqa: BLE001 - zipfile and its decompressors raise a dozen types on damaged archives
        raise UndecodableImageError(
            f"{upload.filename} is a damaged archive ({error}). Send it again."
        ) from None
    return ((name, decode_upload(Upload(name, "", data), limits, draft_side)) for name, data in contents)


def is_hidden(member: zipfile.ZipInfo) -> bool:
    """Say whether a member is a folder, or one of the files that systems add by themselves."""
    return member.is_dir() or any(part.startswith((".", "__MACOSX")) for part in member.filename.split("/"))


def check_archive_size(members: list[zipfile.ZipInfo], limits: Settings) -> None:
    if len(members) > limits.max_images:
        raise TooLargeError(
            f"The archive holds {len(members)} files. Send at most {limits.max_images} at a time."
        )
    unpacked = sum(member.file_size for member in members)
    if unpacked > limits.max_body_bytes:
        raise TooLargeError(
            f"The archive unpacks to {unpacked:,} bytes. Send at most {limits.max_body_bytes:,}."
        )


def array_pictures(filename: str, data: bytes, limits: Settings) -> Pictures:
    """Return the pictures of a `.npy` file's array."""
    images = as_images(read_array(filename, data))
    if len(images) > limits.max_images:
        raise TooLargeError(
            f"The array holds {len(images)} images. Send at most {limits.max_images} at a time."
        )
    if math.prod(images.shape[1:3]) > limits.max_pixels:
        raise TooLargeError(f"The array's images have more than {limits.max_pixels:,} pixels.")
    return ((f"{filename}[{index}]", Image.fromarray(image)) for index, image in enumerate(images))


def read_array(filename: str, data: bytes) -> Pixels:
    """Read a `.npy` file of uint8 without copying it, unpickling it, or trusting the size that it claims."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, column_major, dtype = read_header[version](stream)
        if dtype != np.uint8:
            raise UndecodableImageError(f"{filename} holds {dtype}. Send {ARRAY_SHAPES}.")
        if not all(type(side) is int and side >= 0 for side in shape):
            raise UndecodableImageError(f"{filename} has the shape {shape}. Send {ARRAY_SHAPES}.")
        pixels = np.frombuffer(data, dtype=np.uint8, offset=stream.tell())
        return pixels.reshape(shape, order="F" if column_major else "C")
    except Problem:
        raise
    except Exception as error:  # noqa: BLE001 - the header is a Python literal, and can be wrong in as many ways
        raise UndecodableImageError(f"{filename} is a damaged NumPy file ({error}). Send it again.") from None


def as_images(array: Pixels) -> Pixels:
    """Return an array of images as (images, height, width) or (images, height, width, 3 or 4)."""
    if array.ndim == 4 and array.shape[3] not in CHANNELS and array.shape[1] in CHANNELS:
        array = np.moveaxis(array, 1, 3)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    well_formed = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in CHANNELS)
    if not well_formed or 0 in array.shape[1:]:
        raise UndecodableImageError(f"The array's shape is {array.shape}. Send {ARRAY_SHAPES}.")
    return np.ascontiguousarray(array)

"""Read uploaded images, or all images of one NumPy file or zip archive, as inputs of a model.

Pictures are decoded and prepared one after the other, so only one of them is in memory at its full size.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from zipfile import ZipFile, ZipInfo

from PIL import Image

from vision.errors import MAX_ECHO, AmbiguousFilesError, Problem, TooLargeError, UndecodableImageError
from vision.images.decode import Offload, check_content_type, check_size, decode_image
from vision.images.downscale import Downscale, downscaled
from vision.images.limits import ImageLimits
from vision.images.npy import NPY_MAGIC, as_images, read_array
from vision.images.zip_archive import ZIP_MAGIC, open_archive, read_member, visible_members
from vision.preprocessing.prepared import Prepared
from vision.preprocessing.registry import Preparation

ARCHIVE_MAGIC = (NPY_MAGIC, *ZIP_MAGIC)
PAUSE_EVERY, PAUSE_SECONDS = 4, 2e-4
Pictures = Iterator[tuple[str, Callable[[], Image.Image]]]  # names, and functions that decode
Decode = Callable[[bytes], Image.Image]


@dataclass(frozen=True)
class Upload:
    """A file as it arrived."""

    filename: str
    content_type: str
    data: bytes


@dataclass(frozen=True)
class Item:
    """One image as its model takes it, or the problem that it has."""

    index: int
    filename: str
    content: Prepared | Problem


def read_uploads(
    uploads: list[Upload],
    limits: ImageLimits,
    preparation: Preparation,
    *,
    archives: bool,
    checkpoint: Callable[[], None] = lambda: None,
    offload: Offload | None = None,
) -> list[Item]:
    """Return each uploaded image as its model takes it, in order, or the problem that it has.

    Args:
        uploads: The files of one request.
        limits: What is refused as too large.
        preparation: Turns a picture into an input of the model.
        archives: Whether one `.npy`, `.npz` or `.zip` may stand for many images.
        checkpoint: Called before each picture is decoded; an error that it raises ends the work.
        offload: Decodes the pictures that take long; None to decode all of them here.

    Raises:
        AmbiguousFilesError: An archive came with other files.
        UndecodableImageError: An archive cannot be read, or its array holds no images.
        TooLargeError: An archive holds too much.
    """
    decode = partial(decode_image, limits=limits, downscale=preparation.downscale, offload=offload)
    pictures = open_pictures(uploads, limits, decode, preparation.downscale, archives=archives)
    return [
        Item(index, name, prepared(open_picture, preparation))
        for index, (name, open_picture) in enumerate(with_pauses(pictures, checkpoint))
    ]


def prepared(open_picture: Callable[[], Image.Image], preparation: Preparation) -> Prepared | Problem:
    try:
        return preparation.prepare(open_picture())
    except Problem as problem:  # the frames of its traceback would keep the picture in memory
        problem.__context__ = None
        return problem.with_traceback(None)


def with_pauses(pictures: Pictures, checkpoint: Callable[[], None]) -> Pictures:
    """Yield pictures, calling `checkpoint` before each and pausing shortly after every few.

    Pillow releases Python's lock many times for each picture, and takes it back before another thread has
    woken up. Without pauses, a thread that decodes a thousand pictures would block the others.
    """
    checkpoint()
    for index, picture in enumerate(pictures, 1):
        yield picture
        checkpoint()
        if index % PAUSE_EVERY == 0:
            time.sleep(PAUSE_SECONDS)


def open_pictures(
    uploads: list[Upload], limits: ImageLimits, decode: Decode, downscale: Downscale | None, *, archives: bool
) -> Pictures:
    """Return the pictures of all uploads, by name."""
    archived = [upload for upload in uploads if archives and upload.data.startswith(ARCHIVE_MAGIC)]
    if not archived:
        return ((upload.filename, partial(decode_upload, upload, decode)) for upload in uploads)
    if len(uploads) > 1:
        raise AmbiguousFilesError(f"{archived[0].filename} holds many images. Send it alone.")
    if archived[0].data.startswith(NPY_MAGIC):
        return array_pictures(archived[0].filename, archived[0].data, limits, downscale)
    return archive_pictures(archived[0], limits, decode, downscale)


def decode_upload(upload: Upload, decode: Decode) -> Image.Image:
    check_content_type(upload.content_type)
    return decode(upload.data)


def archive_pictures(
    upload: Upload, limits: ImageLimits, decode: Decode, downscale: Downscale | None
) -> Pictures:
    """Return the pictures of a zip archive, or of the array in an `.npz`."""
    archive = open_archive(upload.filename, upload.data, limits)
    members = visible_members(archive)
    if members and all(member.filename.endswith(".npy") for member in members):
        wanted = [member for member in members if member.filename == "images.npy"] or members
        if len(wanted) > 1:
            names = ", ".join(member.filename.removesuffix(".npy") for member in members)
            raise UndecodableImageError(
                f"{upload.filename} holds the arrays {names[:MAX_ECHO]}. Call one of them images."
            )
        return array_pictures(upload.filename, read_member(archive, wanted[0]), limits, downscale)
    return ((member.filename, partial(decode_member, archive, member, decode)) for member in members)


def decode_member(archive: ZipFile, member: ZipInfo, decode: Decode) -> Image.Image:
    return decode(read_member(archive, member))


def array_pictures(filename: str, data: bytes, limits: ImageLimits, downscale: Downscale | None) -> Pictures:
    """Return the pictures of a `.npy` file's array."""
    images = as_images(read_array(filename, data))
    if len(images) > limits.max_images:
        raise TooLargeError(
            f"The array holds {len(images)} images. Send at most {limits.max_images} at a time."
        )
    height, width = images.shape[1:3]
    check_size((width, height), limits)
    return (
        (f"{filename}[{index}]", partial(downscaled, Image.fromarray(image), downscale))
        for index, image in enumerate(images)
    )

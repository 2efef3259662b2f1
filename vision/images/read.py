"""From uploads to a batch of model inputs: image files, or all the images of one NumPy file or zip archive.

Pictures are decoded and prepared one after the other, so that only one of them is ever in memory at its full
size.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from zipfile import ZipFile, ZipInfo

from PIL import Image

from vision.errors import MAX_ECHO, AmbiguousFilesError, Problem, TooLargeError, UndecodableImageError
from vision.images.decode import Elsewhere, check_content_type, check_size, decode_image
from vision.images.downscale import Spare, shrunk
from vision.images.limits import ImageLimits
from vision.images.npy import NPY_MAGIC, as_images, read_array
from vision.images.zip_archive import ZIP_MAGIC, open_archive, read_member, visible_members
from vision.preprocessing.prepared import Prepared
from vision.preprocessing.registry import Preparation

PAUSE_EVERY, PAUSE_SECONDS = 4, 2e-4
Pictures = Iterator[tuple[str, Image.Image | Problem]]
Decode = Callable[[bytes], Image.Image]


@dataclass(frozen=True)
class Upload:
    """A file as it arrived."""

    filename: str
    content_type: str
    data: bytes


@dataclass(frozen=True)
class Item:
    """An image of a batch as its model takes it, or the problem that it has."""

    index: int
    filename: str
    content: Prepared | Problem


def read_batch(
    uploads: list[Upload],
    limits: ImageLimits,
    preparation: Preparation,
    *,
    archives: bool,
    checkpoint: Callable[[], None] = lambda: None,
    elsewhere: Elsewhere | None = None,
) -> list[Item]:
    """Decode and prepare what was uploaded, in order. A file that is no image becomes a problem in its place.

    Args:
        uploads: The files of one request.
        limits: How many images, of how many pixels, and how many bytes an archive may unpack to.
        preparation: Makes a picture into what the model takes.
        archives: Whether one `.npy`, `.npz` or `.zip` may stand for many images.
        checkpoint: Called before each picture is decoded; what it raises ends the work.
        elsewhere: Decodes the pictures that take long; None to decode all of them here.

    Raises:
        AmbiguousFilesError: An archive came with other files.
        UndecodableImageError: An archive cannot be read, or its array holds no images.
        TooLargeError: An archive holds too much.
    """
    decode = partial(decode_image, limits=limits, spare=preparation.spare, elsewhere=elsewhere)
    pictures = open_pictures(uploads, limits, decode, preparation.spare, archives=archives)
    return [
        Item(index, name, picture if isinstance(picture, Problem) else prepared(picture, preparation))
        for index, (name, picture) in enumerate(giving_way(pictures, checkpoint))
    ]


def prepared(picture: Image.Image, preparation: Preparation) -> Prepared | Problem:
    try:
        return preparation.prepare(picture)
    except Problem as problem:
        return without_frames(problem)


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
    uploads: list[Upload], limits: ImageLimits, decode: Decode, spare: Spare | None, *, archives: bool
) -> Pictures:
    """Return the pictures of all uploads, by name, each decoded when it is asked for."""
    held = [upload for upload in uploads if archives and is_archive(upload.data)]
    if not held:
        return ((upload.filename, decode_upload(upload, decode)) for upload in uploads)
    if len(uploads) > 1:
        raise AmbiguousFilesError(f"{held[0].filename} holds many images. Send it alone.")
    if held[0].data.startswith(NPY_MAGIC):
        return array_pictures(held[0].filename, held[0].data, limits, spare)
    return archive_pictures(held[0], limits, decode, spare)


def is_archive(data: bytes) -> bool:
    return data.startswith((NPY_MAGIC, *ZIP_MAGIC))


def decode_upload(upload: Upload, decode: Decode) -> Image.Image | Problem:
    try:
        check_content_type(upload.content_type)
        return decode(upload.data)
    except Problem as problem:
        return without_frames(problem)


def without_frames(problem: Problem) -> Problem:
    """Return a problem that has forgotten where it came up, or it would keep a picture in memory each."""
    problem.__context__ = None
    return problem.with_traceback(None)


def archive_pictures(upload: Upload, limits: ImageLimits, decode: Decode, spare: Spare | None) -> Pictures:
    """Return the pictures of a zip archive, or of the array in an `.npz`.

    Raises:
        UndecodableImageError: The archive is damaged, or its arrays leave open which holds the images.
        TooLargeError: It holds too much.
    """
    archive = open_archive(upload.filename, upload.data, limits)
    members = visible_members(archive)
    if members and all(member.filename.endswith(".npy") for member in members):
        wanted = [member for member in members if member.filename == "images.npy"] or members
        if len(wanted) > 1:
            names = ", ".join(member.filename.removesuffix(".npy") for member in members)
            raise UndecodableImageError(
                f"{upload.filename} holds the arrays {names[:MAX_ECHO]}. Call one of them images."
            )
        return array_pictures(upload.filename, read_member(archive, wanted[0]), limits, spare)
    return ((member.filename, decode_member(archive, member, decode)) for member in members)


def decode_member(archive: ZipFile, member: ZipInfo, decode: Decode) -> Image.Image | Problem:
    try:
        data = read_member(archive, member)
    except Problem as problem:
        return without_frames(problem)
    return decode_upload(Upload(member.filename, "", data), decode)


def array_pictures(filename: str, data: bytes, limits: ImageLimits, spare: Spare | None) -> Pictures:
    """Return the pictures of a `.npy` file's array.

    Raises:
        UndecodableImageError: It is damaged, or holds no images.
        TooLargeError: It holds too many, or too large ones.
    """
    images = as_images(read_array(filename, data))
    if len(images) > limits.max_images:
        raise TooLargeError(
            f"The array holds {len(images)} images. Send at most {limits.max_images} at a time."
        )
    height, width = images.shape[1:3]
    check_size((width, height), limits)
    return (
        (f"{filename}[{index}]", shrunk(Image.fromarray(image), spare)) for index, image in enumerate(images)
    )

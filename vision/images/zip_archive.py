"""Read zip archives without unpacking more than the limits allow, whatever their directories claim."""

import io
import re
import zipfile
from collections.abc import Sequence
from itertools import islice, pairwise

from vision.errors import MAX_NAME, Problem, TooLargeError, UndecodableImageError
from vision.images.folders import is_hidden
from vision.images.limits import ImageLimits

ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # with members, and empty
DIRECTORY_ENTRY = re.compile(rb"PK\x01\x02")
LOCAL_HEADER_BYTES = 30  # before the member's name
ENCRYPTED = 0x1  # flag of a member
HIDDEN, FOLDER = 0x02, 0x10  # attributes of a member in DOS and Windows
# Each picture may have its own folder, and a Mac packs both a second time, under __MACOSX.
ENTRIES_OF_A_PICTURE, ENTRIES_OF_A_SYSTEM = 4, 100
FREE_UNPACKED_BYTES = 2**20  # allowed at any ratio to the archive's size


def open_archive(filename: str, data: bytes, limits: ImageLimits) -> zipfile.ZipFile:
    """Return an opened zip archive that keeps the limits.

    Raises:
        UndecodableImageError: It is damaged, or some of its members share their bytes.
        TooLargeError: It holds too many files, or unpacks to too much.
    """
    try:
        check_directory(data, limits.max_images)
        archive = zipfile.ZipFile(io.BytesIO(data))
        check_members(visible_members(archive), len(data), limits)
    except (Problem, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - zipfile raises a dozen types on damaged archives
        raise UndecodableImageError(f"{filename} is a damaged archive. Send it again.") from None
    return archive


def check_directory(data: bytes, max_members: int) -> None:
    """Refuse an archive of very many files before zipfile makes an object for each of them.

    An entry's first bytes can occur elsewhere too, so this limit is generous. The exact one is checked later.
    """
    enough = ENTRIES_OF_A_PICTURE * max_members + ENTRIES_OF_A_SYSTEM
    if len(list(islice(DIRECTORY_ENTRY.finditer(data), enough + 1))) > enough:
        raise TooLargeError(
            f"The archive holds more than {enough} files. Send at most {max_members} at a time."
        )


def check_members(members: Sequence[zipfile.ZipInfo], size: int, limits: ImageLimits) -> None:
    if len(members) > limits.max_images:
        raise TooLargeError(
            f"The archive holds {len(members)} files. Send at most {limits.max_images} at a time."
        )
    unpacked = sum(member.file_size for member in members)
    if unpacked > limits.max_bytes:
        raise TooLargeError(f"The archive unpacks to {unpacked:,} bytes. Send at most {limits.max_bytes:,}.")
    if unpacked > max(FREE_UNPACKED_BYTES, limits.max_archive_ratio * size):
        raise TooLargeError(
            f"The archive unpacks to {unpacked / size:.0f} times its size. Send one that unpacks to at most "
            f"{limits.max_archive_ratio:g} times."
        )
    if any(len(member.filename) > MAX_NAME for member in members):
        raise TooLargeError(f"A file's name in the archive has more than {MAX_NAME} characters. Shorten it.")
    in_order = sorted(members, key=lambda member: member.header_offset)
    for member, following in pairwise(in_order):
        header = LOCAL_HEADER_BYTES + len(member.orig_filename)
        if member.header_offset + header + member.compress_size > following.header_offset:
            raise UndecodableImageError(
                f"The archive's files {member.filename} and {following.filename} share bytes. Pack them anew."
            )


def visible_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members that are neither folders nor hidden, with / in their names."""
    members = archive.infolist()
    for member in members:
        member.filename = member.filename.replace("\\", "/")  # Python does so on Windows alone
    return [member for member in members if not is_left_out(member)]


def is_left_out(member: zipfile.ZipInfo) -> bool:
    is_folder = member.filename.endswith("/") or (member.external_attr & FOLDER and not member.file_size)
    return bool(is_folder or member.external_attr & HIDDEN) or is_hidden(member.filename)


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return what a member of an archive unpacks to.

    Raises:
        UndecodableImageError: The member is damaged, encrypted or compressed in an unusual way.
    """
    name = member.filename
    if member.flag_bits & ENCRYPTED:
        raise UndecodableImageError(f"{name} is encrypted. Send the archive without a password.")
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise UndecodableImageError(
            f"{name} is compressed by method {member.compress_type}. Send it stored or deflated."
        )
    try:
        with archive.open(member) as file:
            data = file.read(member.file_size + 1)  # an unlimited read would unpack everything
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - zipfile and zlib raise a dozen types on damaged members
        raise UndecodableImageError(f"{name} is damaged in the archive. Pack it anew.") from None
    if len(data) != member.file_size:
        raise UndecodableImageError(
            f"{name} has {len(data):,} bytes and not the {member.file_size:,} that the archive says."
        )
    return data

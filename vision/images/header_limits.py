"""What a file claims of itself, looked at before a decoder believes it."""

import re
import struct
from collections.abc import Mapping, Sequence

from vision.errors import UndecodableImageError

# Nobody's files come near these. Past them a few megabytes could keep a decoder busy for minutes, or become
# gigabytes of Python's numbers.
MAX_SCANS = 100  # of a JPEG: encoders make some ten, and each goes over the whole picture
MAX_EXIF_SEGMENTS = 16  # of a JPEG, 64 KiB each
MAX_TAG_VALUES = 200_000  # of one of a TIFF's tags; the largest usual ones say where each tile lies

MAX_SEGMENTS = 1000  # of a JPEG, before its picture
MAX_BETWEEN = 10_000  # bytes between segments of a JPEG, and between blocks of a GIF, where none are needed
MAX_CHUNKS = 20_000  # of a PNG: of 8 KiB each, as they often are, these are 160 MB
MAX_BLOCKS = 20_000  # of comments and extensions of a GIF, before its picture

# A run of 0xFF may stand before a marker; only the last of them is looked at, or each would be many times.
GIF_BLOCK = re.compile(rb"[!,;]")
JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
ARITHMETIC = {*range(0xC9, 0xD0)} - {0xCC}  # frames whose coding no browser knows, and that takes far longer
WITHOUT_LENGTH = {0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}  # as Pillow has it
TIFF_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
TIFF_STRINGS = (1, 2, 7)  # the types of which Pillow makes one string, not one number for each
TIFF_INTEGERS = {3: ("H", 2), 4: ("L", 4)}  # types, with their letters and sizes in struct
TIFF_OFFSETS, TIFF_LENGTHS = (273, 324), (279, 325)  # tags of strips, and of tiles


def check_header(data: bytes) -> None:
    """Refuse a file whose structure, not its picture, would take too much to read.

    Raises:
        UndecodableImageError: It has too many scans, parts or metadata, is a BigTIFF, or has data that a
            decoder would go through more than once.
    """
    start = bytes(data[:4])
    if start.startswith(b"\xff\xd8"):
        check_jpeg(data)
    elif start[:2] in {b"II", b"MM"}:
        check_tiff(data, start)
    elif start == b"\x89PNG":
        check_png(data)
    elif start == b"GIF8":
        check_gif(data)


def check_jpeg(data: bytes) -> None:
    # What looks like a scan may be part of a thumbnail, or of a film after the picture: count twice.
    if occurrences(rb"\xff\xda", data) > MAX_SCANS and scans_of_jpeg(data) > MAX_SCANS:
        raise UndecodableImageError(f"The JPEG has more than {MAX_SCANS} scans. Send it with fewer.")
    if occurrences(rb"Exif\0\0", data) > MAX_EXIF_SEGMENTS:
        raise UndecodableImageError(
            f"The JPEG has more than {MAX_EXIF_SEGMENTS} segments of EXIF data. Send it without."
        )
    check_segments(data)


def occurrences(pattern: bytes, data: bytes) -> int:
    return sum(1 for _ in re.finditer(pattern, data))


def scans_of_jpeg(data: bytes) -> int:
    """Count the scans of a JPEG, as a decoder meets them."""
    position, scans = 2, 0
    while scans <= MAX_SCANS and (found := JPEG_MARKER.search(data, position)):
        marker, position = found[1][0], found.end()
        if marker == END_OF_IMAGE:
            break
        scans += marker == START_OF_SCAN
        if marker not in WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2], "big")
    return scans


def check_segments(data: bytes) -> None:
    """Go through a JPEG up to its first scan as Pillow does, step by step for each byte between segments.

    Raises:
        UndecodableImageError: There are too many segments, or too much between them.
    """
    position, segments, between = 2, 0, 0
    while found := JPEG_MARKER.search(data, position, position + MAX_BETWEEN + 2):
        marker = found[1][0]
        segments, between = segments + 1, between + found.start() - position
        position = found.end()
        if segments > MAX_SEGMENTS:
            raise UndecodableImageError(f"The JPEG has more than {MAX_SEGMENTS} segments. Save it anew.")
        if marker in ARITHMETIC:
            raise UndecodableImageError("The JPEG has arithmetic coding. Save it anew, with Huffman coding.")
        if marker == START_OF_SCAN:
            break
        if marker not in WITHOUT_LENGTH:
            position += max(2, int.from_bytes(data[position : position + 2], "big"))
    else:
        between += len(data) - position
    if between > MAX_BETWEEN:
        raise UndecodableImageError(
            f"The JPEG has more than {MAX_BETWEEN:,} bytes between its segments. Save it anew."
        )


def check_png(data: bytes) -> None:
    position, chunks = 8, 0
    while position < len(data):
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise UndecodableImageError(f"The PNG has more than {MAX_CHUNKS:,} chunks. Save it anew.")
        position += 12 + int.from_bytes(data[position : position + 4], "big")  # length, type, data, checksum


def check_gif(data: bytes) -> None:
    flags = data[10] if len(data) > 10 else 0
    position, blocks = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0), 0  # after the table of colours
    between = 0
    while found := GIF_BLOCK.search(data, position, position + MAX_BETWEEN + 1):
        between += found.start() - position
        if between > MAX_BETWEEN or found[0] != b"!":  # the picture, or the end
            break
        position = found.end() + 1  # of an extension: its kind, and blocks until an empty one
        while blocks <= MAX_BLOCKS and position < len(data) and (size := data[position]):
            position, blocks = position + 1 + size, blocks + 1
        position, blocks = position + 1, blocks + 1
        if blocks > MAX_BLOCKS:
            raise UndecodableImageError(f"The GIF has more than {MAX_BLOCKS:,} blocks. Save it anew.")
    else:
        between += len(data) - position
    if between > MAX_BETWEEN:
        raise UndecodableImageError(
            f"The GIF has more than {MAX_BETWEEN:,} bytes between its blocks. Save it anew."
        )


def check_tiff(data: bytes, start: bytes) -> None:
    """Look at the tags of the first picture, each of 12 bytes: its number, type, count, and where it lies."""
    order = TIFF_BYTE_ORDERS.get(start)
    if order is None:
        raise UndecodableImageError("The file is no TIFF, or one for files over 4 GB. Send a usual TIFF.")
    blocks = dict[int, tuple[int, ...]]()
    try:
        (offset,) = struct.unpack_from(f"{order}L", data, 4)
        (n_tags,) = struct.unpack_from(f"{order}H", data, offset)
        for entry in range(offset + 2, min(offset + 2 + 12 * n_tags, len(data) - 11), 12):
            tag, kind, count = struct.unpack_from(f"{order}HHL", data, entry)
            if kind not in TIFF_STRINGS and count > MAX_TAG_VALUES:
                raise UndecodableImageError(
                    f"The TIFF has {count:,} values in its tag {tag}. Send at most {MAX_TAG_VALUES:,}."
                )
            if tag in {*TIFF_OFFSETS, *TIFF_LENGTHS}:
                if tag in blocks or kind not in TIFF_INTEGERS:
                    raise UndecodableImageError(
                        "The TIFF does not say clearly where its data lie. Save it anew."
                    )
                letter, size = TIFF_INTEGERS[kind]
                place = entry + 8
                if count * size > 4:
                    (place,) = struct.unpack_from(f"{order}L", data, place)
                blocks[tag] = struct.unpack_from(f"{order}{count}{letter}", data, place)
    except struct.error:
        raise UndecodableImageError("The TIFF ends before its first picture. Send it complete.") from None
    check_blocks(blocks, len(data))


def check_blocks(blocks: Mapping[int, Sequence[int]], size: int) -> None:
    """Refuse a TIFF several of whose tiles or strips are the same data, which would be decoded for each.

    Args:
        blocks: Values of the tags that say where the blocks lie, and how long they are.
        size: Bytes of the file.

    Raises:
        UndecodableImageError: It is such a TIFF, or leaves that open.
    """
    for offsets_tag, lengths_tag in zip(TIFF_OFFSETS, TIFF_LENGTHS, strict=True):
        offsets, lengths = blocks.get(offsets_tag, ()), blocks.get(lengths_tag, ())
        if len(offsets) > 1 and len(lengths) < len(offsets):
            raise UndecodableImageError("The TIFF does not say how long its strips are. Save it anew.")
        used = [offset for offset, length in zip(offsets, lengths, strict=False) if length]
        if len(set(used)) < len(used) or (len(used) > 1 and sum(lengths) > size):
            raise UndecodableImageError("The TIFF has strips or tiles that share their data. Save it anew.")

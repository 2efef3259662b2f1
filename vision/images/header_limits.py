"""Reject files whose header structure would make Pillow slow."""

import re
import struct
from collections.abc import Mapping, Sequence

from vision.errors import UndecodableImageError

# Real files are far below these limits. Above them, a few megabytes could keep a decoder busy for minutes, or
# become gigabytes of Python integers.
MAX_SCANS = 100  # in a JPEG; encoders write about ten, and each covers the whole picture
MAX_EXIF_SEGMENTS = 16  # in a JPEG, each of 64 KiB
MAX_TAG_VALUES = 200_000  # in one tag of a TIFF; the longest usual tags hold the positions of tiles
MAX_SEGMENTS = 1000  # in a JPEG, before its picture
MAX_BETWEEN = 10_000  # needless bytes between the segments of a JPEG, or between the blocks of a GIF
MAX_CHUNKS = 20_000  # in a PNG; with the usual 8 KiB each, these are 160 MB
MAX_BLOCKS = 20_000  # of comments and extensions in a GIF, before its picture

GIF_BLOCK = re.compile(rb"[!,;]")
# Any number of 0xFF may precede a marker. Only the last one matches: matching each would take too long.
JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
ARITHMETIC = {*range(0xC9, 0xCC), *range(0xCD, 0xD0)}  # a coding that no browser supports; it is far slower
WITHOUT_LENGTH = {0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}  # as in Pillow
TIFF_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
TIFF_STRINGS = (1, 2, 7)  # types that Pillow reads as one string, and not value by value
TIFF_INTEGERS = {3: ("H", 2), 4: ("L", 4)}  # types, with their letters and sizes in struct
TIFF_OFFSETS, TIFF_LENGTHS = (273, 324), (279, 325)  # tags of strips, and of tiles


def check_header(data: bytes) -> None:
    """Refuse a file whose structure, not its picture, would take too much to read.

    Raises:
        UndecodableImageError: The file has too many scans, parts or metadata, is a BigTIFF, or has data that
            would be decoded more than once.
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
    # The quick count includes thumbnails, and anything after the picture; the exact one only the picture.
    if data.count(b"\xff\xda") > MAX_SCANS and scans_of_jpeg(data) > MAX_SCANS:
        raise UndecodableImageError(f"The JPEG has more than {MAX_SCANS} scans. Send it with fewer.")
    if data.count(b"Exif\0\0") > MAX_EXIF_SEGMENTS:
        raise UndecodableImageError(
            f"The JPEG has more than {MAX_EXIF_SEGMENTS} segments of EXIF data. Send it without."
        )
    check_segments(data)


def scans_of_jpeg(data: bytes) -> int:
    """Count the scans of a JPEG as a decoder finds them."""
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
    """Check the segments of a JPEG before its first scan; Pillow reads the bytes between them one by one."""
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
        # A chunk is its length, type, data and checksum.
        position += 12 + int.from_bytes(data[position : position + 4], "big")


def check_gif(data: bytes) -> None:
    flags = data[10] if len(data) > 10 else 0
    position, blocks = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0), 0  # after the colour table
    between = 0
    while found := GIF_BLOCK.search(data, position, position + MAX_BETWEEN + 1):
        between += found.start() - position
        if between > MAX_BETWEEN or found[0] != b"!":  # the picture or the end of the file
            break
        position = found.end() + 1  # an extension is its kind, and blocks up to an empty one
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
    """Check the tags of a TIFF's first picture, each 12 bytes: number, type, count, and value or offset."""
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
    """Refuse a TIFF whose tiles or strips share their data, which would be decoded again for each of them.

    Args:
        blocks: Values of the tags for the offsets and lengths of strips and tiles.
        size: Bytes of the file.
    """
    for offsets_tag, lengths_tag in zip(TIFF_OFFSETS, TIFF_LENGTHS, strict=True):
        offsets, lengths = blocks.get(offsets_tag, ()), blocks.get(lengths_tag, ())
        if len(offsets) > 1 and len(lengths) < len(offsets):
            raise UndecodableImageError("The TIFF does not say how long its strips are. Save it anew.")
        used = [offset for offset, length in zip(offsets, lengths, strict=False) if length]
        if len(set(used)) < len(used) or (len(used) > 1 and sum(lengths) > size):
            raise UndecodableImageError("The TIFF has strips or tiles that share their data. Save it anew.")

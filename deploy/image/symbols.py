"""Cuts off shared libraries what only linkers and debuggers read: of PyTorch's a fifth, tables of symbols.

`strip` would do so too, but the image has no binutils, and to install them takes a mirror of Debian. All that
is loaded into memory comes before those tables, so a file is cut there, unless anything else might follow.
"""

import struct
import sysconfig
from pathlib import Path
from typing import BinaryIO

# ELF files of 64 bits, the least significant byte first; the numbers that are not read are left out.
IDENTITY = b"\x7fELF\x02\x01"
HEADER = struct.Struct("<6s10xH14x2Q4x6H")
SHARED_LIBRARY = 3
SECTION_TABLE_OFFSET, SECTION_COUNT = 40, 60  # where the header names them
SEGMENT = struct.Struct("<8xQ16xQ16x")  # its offset and its size in the file
SECTION = struct.Struct("<4xIQ8x2Q24x")  # its type, its flags, its offset and its size
NOT_IN_THE_FILE = 8  # a type: of what is zero when it is loaded
LOADED = 2  # a flag
PAGE = 4096  # bytes, to which the beginning of a section may be aligned


def main() -> None:
    libraries = [path for path in Path(sysconfig.get_path("purelib")).rglob("*.so*") if path.is_file()]
    saved = sum(cut_symbols(path) for path in libraries if not path.is_symlink())
    print(f"{saved / 1e6:,.0f} MB of symbols cut off shared libraries")


def cut_symbols(path: Path) -> int:
    """Cut off what of a file is not loaded into memory, if it is a shared library; return how many bytes."""
    with path.open("r+b") as file:
        size = path.stat().st_size
        end = end_of_loaded(file, size)
        if end is None:
            return 0
        file.seek(SECTION_TABLE_OFFSET)
        file.write(bytes(8))
        file.seek(SECTION_COUNT)
        file.write(bytes(4))  # and the number of the section that holds the names of all
        file.truncate(end)
        return size - end


def end_of_loaded(file: BinaryIO, size: int) -> int | None:
    """Return the offset from which on a shared library holds nothing but sections that are not loaded.

    None where it does not, or it is no shared library, or there is anything that no section accounts for.
    """
    header = file.read(HEADER.size)
    if len(header) < HEADER.size or not header.startswith(IDENTITY):
        return None
    _, kind, segments_at, sections_at, _, segment_size, n_segments, section_size, n_sections, _ = (
        HEADER.unpack(header)
    )
    if (kind, segment_size, section_size) != (SHARED_LIBRARY, SEGMENT.size, SECTION.size) or not n_sections:
        return None
    segments_end = segments_at + n_segments * SEGMENT.size
    sections_end = sections_at + n_sections * SECTION.size
    if max(segments_end, sections_end) > size:
        return None
    segments = entries(file, SEGMENT, segments_at, n_segments)
    end = max([segments_end] + [offset + length for offset, length in segments])
    unloaded = [(sections_at, sections_end)]
    for section_kind, flags, offset, length in entries(file, SECTION, sections_at, n_sections):
        if section_kind == NOT_IN_THE_FILE or offset + length <= end:
            continue
        if flags & LOADED:
            return None
        unloaded.append((offset, offset + length))
    reached = end
    for start, stop in sorted(unloaded):
        if start < end or start >= reached + PAGE:
            return None
        reached = max(reached, stop)
    return end if reached == size else None


def entries(file: BinaryIO, entry: struct.Struct, offset: int, count: int) -> list[tuple[int, ...]]:
    """Return the entries of a table of an ELF file."""
    file.seek(offset)
    return list(entry.iter_unpack(file.read(entry.size * count)))


if __name__ == "__main__":
    main()

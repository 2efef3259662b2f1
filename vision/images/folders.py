"""Image files by the names of files and folders, without those that only a system has use for."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

# What programs write the formats under that are read here, and formats that are not: those get an error each.
SUFFIXES = {
    ".png",
    ".apng",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".gif",
    ".bmp",
    ".dib",
    ".tif",
    ".tiff",
    ".webp",
}
OTHER_SUFFIXES = {".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".ico", ".psd", ".dng"}
MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
)  # BMP's is that of some texts too
RIFF, WEBP = slice(0, 4), slice(8, 12)  # where a WebP file says these words

# In small letters: of macOS, of Windows, and of network disks, which keep thumbnails there.
ADDED_BY_SYSTEMS = {
    *("__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"),
    *("system volume information", "@eadir"),
}
NAMED = 3  # of the files that are left out


class NoImagesError(Exception):
    """A folder without images."""


def is_hidden(name: str) -> bool:
    """Say whether a file is one that systems and editors hide, by its name with those of its folders."""
    parts = name.lower().replace("\\", "/").split("/")
    return any(part in ADDED_BY_SYSTEMS or (part.startswith(".") and part.strip(".")) for part in parts)


def image_files(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return the files that are named, and the images in the folders that are named, with short names.

    What is hidden in a folder is left out, as in an archive, and so is what is no image. Standard error says
    so, unless it is hidden and not named like an image either.

    Raises:
        NoImagesError: A folder holds none.
        OSError: A folder cannot be read.
    """
    files: list[tuple[str, Path]] = []
    for path in paths:
        if not path.is_dir():
            files.append((readable(path.name), path))
            continue
        found, left_out = list[tuple[str, Path]](), list[str]()
        for file in sorted(files_below(path)):
            name = readable(file.relative_to(path).as_posix())
            hidden = is_hidden(name)
            if not hidden and is_image(file):
                found.append((name, file))
            elif not hidden or named_like_an_image(file):
                left_out.append(name)
        if left_out:
            print(f"Left out of {path}, as hidden or no image: {listed(left_out)}", file=sys.stderr)
        if not found:
            raise NoImagesError(
                f"There is no image in {path}: no file that is not hidden is one, by its name or its "
                "first bytes."
            )
        files += found
    return files


def listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def files_below(folder: Path) -> Iterator[Path]:
    """Give all that is in a folder and those in it, but what links to a folder leads to.

    Raises:
        OSError: One of them cannot be read.
    """
    for within, folders, names in os.walk(folder, onerror=refuse):
        yield from (Path(within, name) for name in names)
        yield from (Path(within, name) for name in folders if Path(within, name).is_symlink())


def refuse(error: OSError) -> NoReturn:
    raise error


def is_image(file: Path) -> bool:
    """Say whether a file is an image by its name or, whatever its name, by its first bytes."""
    if not file.is_file():
        return False
    if named_like_an_image(file):
        return True
    with file.open("rb") as opened:
        start = opened.read(WEBP.stop)
    return start.startswith(MAGIC) or (start[RIFF], start[WEBP]) == (b"RIFF", b"WEBP")


def named_like_an_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES | OTHER_SUFFIXES


def readable(name: str) -> str:
    """Return a file's name as text, in which bytes that are no UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")

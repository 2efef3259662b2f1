"""Find image files in folders, without hidden files and those that operating systems add."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

# Suffixes of the formats that can be decoded, and of others: images in these get an error each.
SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp"),
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".ico", ".psd", ".dng"),
}
# First bytes of images. Those of a BMP are left out, because a text can begin with them too.
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")

# Files and folders that macOS, Windows and network disks add, in lower case.
ADDED_BY_SYSTEMS = {
    *("__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"),
    *("system volume information", "@eadir"),
}
MAX_LISTED = 3  # names in a message about files that are left out


class NoImagesError(Exception):
    """A folder without images."""


def is_hidden(name: str) -> bool:
    """Return whether a file or one of its folders is hidden or added by an operating system."""
    parts = name.lower().replace("\\", "/").split("/")
    return any(part in ADDED_BY_SYSTEMS or (part.startswith(".") and part.strip(".")) for part in parts)


def image_files(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return the given files, and the images in the given folders, each with a short name.

    Hidden files in a folder are left out, as in an archive, and so are files that are no images. Standard
    error lists them, except for hidden files without an image's suffix.

    Raises:
        NoImagesError: A folder holds no image.
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
            elif not hidden or has_image_suffix(file):
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
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders, and links to folders, which are not followed."""
    for within, folders, names in os.walk(folder, onerror=refuse):
        yield from (Path(within, name) for name in names)
        yield from (Path(within, name) for name in folders if Path(within, name).is_symlink())


def refuse(error: OSError) -> NoReturn:
    raise error


def is_image(file: Path) -> bool:
    """Return whether a file is an image, by its suffix or by its first bytes."""
    if not file.is_file():
        return False
    if has_image_suffix(file):
        return True
    with file.open("rb") as opened:
        start = opened.read(12)
    return start.startswith(MAGIC) or (start[:4], start[8:]) == (b"RIFF", b"WEBP")


def has_image_suffix(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def readable(name: str) -> str:
    """Return a file's name with escapes for bytes that are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")

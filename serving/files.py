"""Image files by the names of files and folders."""

from collections.abc import Sequence
from pathlib import Path

SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp"}


class NoImagesError(Exception):
    """A folder without images."""


def image_files(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return the files that are named, and the images in the folders that are named, with short names.

    Raises:
        NoImagesError: A folder holds none.
    """
    files: list[tuple[str, Path]] = []
    for path in paths:
        if not path.is_dir():
            files.append((path.name, path))
            continue
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not found:
            raise NoImagesError(
                f"There is no image in {path}: none of its files ends in {', '.join(sorted(SUFFIXES))}."
            )
        files += [(str(file.relative_to(path)), file) for file in found]
    return files

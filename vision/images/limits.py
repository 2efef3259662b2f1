"""Default limits on images, importable without pydantic."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageLimits:
    """Sizes above which images are refused."""

    max_images: int = 1000  # in one request or archive
    max_bytes: int = 64 * 2**20  # unpacked, of an archive
    max_pixels: int = 50_000_000  # width times height of an image
    max_side: int = 30_000  # width and height of an image, each
    max_archive_ratio: float = 200  # unpacked size of an archive over its own

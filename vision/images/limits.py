"""Default limits on images, importable without pydantic."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageLimits:
    """Sizes above which images are refused.

    Attributes:
        max_images: Images in one request or archive.
        max_bytes: Bytes that an archive may unpack to.
        max_pixels: Width times height of an image.
        max_side: Width and height of an image, each.
        max_archive_ratio: Times its own size that an archive may unpack to.
    """

    max_images: int = 1000
    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000
    max_side: int = 30_000
    max_archive_ratio: float = 200

"""Small pictures in every format, and what damage can do to a file."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

EXTREMES = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0", b"\xff\xff"]
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def tiled_tiff(picture: Image.Image, *, tile: int = 16) -> bytes:
    """A grey TIFF in deflated tiles, which Pillow reads and does not write."""
    padded = np.zeros((-(-picture.height // tile) * tile, -(-picture.width // tile) * tile), np.uint8)
    padded[: picture.height, : picture.width] = np.asarray(picture)
    rows, columns = range(0, padded.shape[0], tile), range(0, padded.shape[1], tile)
    tiles = [zlib.compress(padded[y : y + tile, x : x + tile].tobytes()) for y in rows for x in columns]
    starts = list(np.cumsum([8] + [len(data) for data in tiles]))
    lists = starts[-1]
    numbers = [(256, picture.width), (257, picture.height), (258, 8), (259, 8), (262, 1), (277, 1)]
    tags = [struct.pack("<HHLL", tag, 4, 1, value) for tag, value in [*numbers, (322, tile), (323, tile)]]
    tags += [struct.pack("<HHLL", 324, 4, len(tiles), lists)]
    tags += [struct.pack("<HHLL", 325, 4, len(tiles), lists + 4 * len(tiles))]
    tables = struct.pack(f"<{2 * len(tiles)}L", *starts[:-1], *map(len, tiles))
    directory = struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)
    return b"II*\0" + struct.pack("<L", lists + len(tables)) + b"".join(tiles) + tables + directory


def images() -> dict[str, bytes]:
    """One small picture in every format, and in the ways that each has of holding it."""
    grey = Image.linear_gradient("L").resize((40, 30)).point(lambda level: 200 + level // 5)
    grey.paste(20, (16, 5, 21, 25))  # something like a 1, in dark ink
    colour = Image.merge("RGB", [grey, grey.point(lambda level: level * 0.9), grey])
    clear = Image.merge("RGBA", [*colour.split(), grey.point(lambda level: 255 - level)])
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [colour.rotate(90), colour], "duration": 20}
    modes = ["1", "L", "LA", "P", "RGB", "RGBA"]
    tiffs = ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "raw"]
    return {
        **{f"PNG {mode}": encoded(clear.convert(mode, dither=Image.Dither.NONE), "PNG") for mode in modes},
        "PNG 16-bit": encoded(deep, "PNG"),
        "PNG with EXIF": encoded(colour, "PNG", exif=exif),
        "PNG palette, transparent": encoded(colour.convert("P"), "PNG", transparency=3),
        "JPEG": encoded(colour, "JPEG"),
        "JPEG progressive": encoded(colour, "JPEG", progressive=True),
        "JPEG CMYK": encoded(colour.convert("CMYK"), "JPEG"),
        "JPEG turned": encoded(grey, "JPEG", exif=exif),
        "GIF": encoded(colour.convert("P"), "GIF"),
        "GIF animated": encoded(colour, "GIF", disposal=2, transparency=0, **frames),
        "BMP": encoded(colour, "BMP"),
        "BMP palette": encoded(colour.convert("P"), "BMP"),
        "WebP": encoded(colour, "WEBP"),
        "WebP lossless": encoded(clear, "WEBP", lossless=True, exif=exif),
        "WebP animated": encoded(colour, "WEBP", **frames),
        **{f"TIFF {name}": encoded(colour, "TIFF", compression=name) for name in tiffs},
        "TIFF 16-bit": encoded(deep, "TIFF"),
        "TIFF floats": encoded(grey.convert("F"), "TIFF", compression="tiff_lzw"),
        "TIFF turned": encoded(colour, "TIFF", exif=exif),
        "TIFF tiled": tiled_tiff(grey),
    }


IMAGES = images()


def truncated(data: bytes) -> Iterator[bytes]:
    """A file cut short at every sixteenth of its length."""
    for sixteenth in range(1, 16):
        yield data[: len(data) * sixteenth // 16]


def flipped(data: bytes) -> Iterator[bytes]:
    """A file with a few bytes other than they were, anywhere, and in its header."""
    rng = np.random.default_rng(len(data))
    for reach in [len(data)] * 30 + [min(len(data), 100)] * 30:
        damaged = bytearray(data)
        for position in rng.integers(0, reach, rng.integers(1, 6)):
            damaged[position] ^= int(rng.integers(1, 256))
        yield bytes(damaged)


def extreme(data: bytes) -> Iterator[bytes]:
    """A file with zero, or the largest number, where a length, an offset or a size may stand."""
    rng = np.random.default_rng(len(data))
    ends = [range(min(len(data), 64)), range(max(0, len(data) - 200), len(data))]
    positions = [*ends[0], *rng.choice(ends[1], 30), *rng.integers(0, len(data), 20)]
    for index, position in enumerate(positions):
        value = EXTREMES[index % len(EXTREMES)]
        yield data[:position] + value + data[position + len(value) :]


def mutated(rng: np.random.Generator) -> tuple[str, bytes]:
    """Return the name of a picture of the corpus, and its file with some damage."""
    name = rng.choice(list(IMAGES))
    damaged = bytearray(IMAGES[name])
    reach = 100 if rng.random() < 0.5 else len(damaged)  # as headers say what will be done
    for place in rng.random(rng.integers(1, 4)):
        position = int(place * min(reach, len(damaged)))
        match rng.integers(4):
            case 0:
                damaged[position] ^= int(rng.integers(1, 256))
            case 1:
                value = EXTREMES[rng.integers(len(EXTREMES))]
                damaged[position : position + len(value)] = value
            case 2:
                damaged[position:position] = damaged[position : position + int(rng.integers(1, 200))]
            case 3:
                del damaged[position : min(position + int(rng.integers(1, 20)), len(damaged) - 1)]
    if rng.random() < 0.1:
        del damaged[int(rng.integers(len(damaged) + 1)) :]
    return name, with_checksums(bytes(damaged)) if damaged.startswith(PNG_SIGNATURE) else bytes(damaged)


def with_checksums(data: bytes) -> bytes:
    """Return a PNG in which each chunk has the checksum of what it holds, so that damage gets past it."""
    parts, position = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while position + 8 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if end + 4 > len(data):
            break
        checksum = zlib.crc32(data[position + 4 : end])
        parts += [data[position:end], struct.pack(">I", checksum)]
        position = end + 4
    return b"".join([*parts, data[position:]])

"""Small pictures in every format, and functions that damage files."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from bench.bodies import encoded

EXTREMES = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0", b"\xff\xff"]
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def tiled_tiff(picture: Image.Image, *, tile: int = 16) -> bytes:
    """Return a grey TIFF in deflate-compressed tiles, which Pillow can read but not write."""
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
    """Return a small picture in every format and in each of its variants, by name."""
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
    """Yield a file cut short at every sixteenth of its length."""
    for sixteenth in range(1, 16):
        yield data[: len(data) * sixteenth // 16]


def flipped(data: bytes) -> Iterator[bytes]:
    """Yield a file with a few bytes changed, first anywhere and then in its header."""
    rng = np.random.default_rng(len(data))
    for reach in [len(data)] * 30 + [min(len(data), 100)] * 30:
        damaged = bytearray(data)
        for position in rng.integers(0, reach, rng.integers(1, 6)):
            damaged[position] ^= int(rng.integers(1, 256))
        yield bytes(damaged)


def extreme(data: bytes) -> Iterator[bytes]:
    """Yield a file with extreme numbers where lengths, offsets and sizes may be."""
    rng = np.random.default_rng(len(data))
    ends = [range(min(len(data), 64)), range(max(0, len(data) - 200), len(data))]
    positions = [*ends[0], *rng.choice(ends[1], 30), *rng.integers(0, len(data), 20)]
    for index, position in enumerate(positions):
        value = EXTREMES[index % len(EXTREMES)]
        yield data[:position] + value + data[position + len(value) :]


def mutated(rng: np.random.Generator) -> tuple[str, bytes]:
    """Return the name of a picture of IMAGES, and its file with random damage."""
    name = rng.choice(list(IMAGES))
    damaged = bytearray(IMAGES[name])
    reach = 100 if rng.random() < 0.5 else len(damaged)  # the header, whose damage does most
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
    """Return a PNG with the checksum of each chunk made right, so that decoders read damaged chunks."""
    parts, position = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while position + 8 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if end + 4 > len(data):
            break
        checksum = zlib.crc32(data[position + 4 : end])
        parts += [data[position:end], struct.pack(">I", checksum)]
        position = end + 4
    return b"".join([*parts, data[position:]])

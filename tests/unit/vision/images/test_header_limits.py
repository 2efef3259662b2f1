"""Files whose structure would take far longer to read than their picture are refused before that."""

import io
import struct
import time
import zlib
from collections.abc import Sequence

import pytest
from PIL import Image

from vision.errors import UndecodableImageError
from vision.images.decode import decode_image
from vision.images.limits import ImageLimits

LIMITS = ImageLimits(max_pixels=1_000_000)


def encoded(kind: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(stream, kind, **options)
    return stream.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_with(*segments: bytes) -> bytes:
    """A JPEG with other segments before its own."""
    data = encoded("JPEG", progressive=True)
    return data[:2] + b"".join(segments) + data[2:]


def jpeg_of_scans(count: int) -> bytes:
    """A JPEG that repeats its last scan, each of which a decoder goes through."""
    data = encoded("JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def tiff_with(tag: int, kind: int, count: int) -> bytes:
    """A TIFF one of whose tags claims some number of values."""
    data = bytearray(encoded("TIFF"))
    (start,) = struct.unpack_from("<L", data, 4)
    (n_tags,) = struct.unpack_from("<H", data, start)
    entries = range(start + 2, start + 2 + 12 * n_tags, 12)
    (position,) = [one for one in entries if struct.unpack_from("<H", data, one) == (tag,)]
    struct.pack_into("<HL", data, position + 2, kind, count)
    return bytes(data)


def gif_with(junk: bytes) -> bytes:
    """A GIF with something between its table of colours and its picture."""
    data = encoded("GIF")
    picture = 13 + 3 * 256
    return data[:picture] + junk + data[picture:]


def bmp_of_run_lengths(n_bytes: int) -> bytes:
    """A BMP of one pixel, whose row is over after the first of many runs."""
    header = struct.pack("<LllHHLLllLL", 40, 200, 200, 1, 8, 1, n_bytes, 0, 0, 256, 0)
    start = 14 + len(header) + 4 * 256
    runs = b"\xff\x01" * (n_bytes // 2)
    return b"BM" + struct.pack("<LHHL", start + n_bytes, 0, 0, start) + header + bytes(4 * 256) + runs


def tiff_of_tiles(
    *, offsets: Sequence[int], lengths: Sequence[int], stream: bytes, types: tuple[int, int] = (4, 4)
) -> bytes:
    """A TIFF in deflated tiles of 16 × 16, that lie in a stream and are as long as it says."""
    across = len(offsets)
    tables = 8 + 2 + 12 * 10 + 4
    begin = tables + 4 * len(offsets) + 4 * len(lengths)
    tags = [
        (256, 4, 1, 16 * across),
        (257, 4, 1, 16),
        (258, 3, 1, 8),
        (259, 3, 1, 8),
        (262, 3, 1, 1),
        (277, 3, 1, 1),
        (322, 3, 1, 16),
        (323, 3, 1, 16),
        (324, types[0], len(offsets), tables),
        (325, types[1], len(lengths), tables + 4 * len(offsets)),
    ]
    places = [begin + offset for offset in offsets]
    return (
        b"II*\0"
        + struct.pack("<LH", 8, len(tags))
        + b"".join(struct.pack("<HHLL", *tag) for tag in tags)
        + bytes(4)
        + struct.pack(f"<{len(places)}L", *places)
        + struct.pack(f"<{len(lengths)}L", *lengths)
        + stream
    )


TILE = zlib.compress(bytes(range(256)))
EMPTY_BLOCKS = TILE[:2] + b"\0\0\0\xff\xff" * 100_000 + TILE[2:]
MANY = 200


def with_arithmetic_coding() -> bytes:
    data = bytearray(encoded("JPEG"))
    data[data.index(b"\xff\xc0") + 1] = 0xC9
    return bytes(data)


STRIP_OFFSETS, LONG = 273, 4


@pytest.mark.parametrize(
    ("data", "match"),
    [
        pytest.param(jpeg_of_scans(200), "more than 100 scans", id="JPEG of 200 scans"),
        pytest.param(
            jpeg_with(*[segment(0xE1, b"Exif\0\0" + bytes(60_000))] * 17), "EXIF", id="JPEG with 1 MB of EXIF"
        ),
        pytest.param(tiff_with(STRIP_OFFSETS, LONG, 2_000_000), "2,000,000 values", id="TIFF of 2M strips"),
        pytest.param(b"II+\0\x08\0\0\0" + bytes(50), "over 4 GB", id="BigTIFF"),
        pytest.param(b"II*\0\xff\xff\xff\0" + bytes(50), "ends before", id="TIFF without a directory"),
        pytest.param(encoded("TIFF", compression="tiff_lzw")[:8], "ends before", id="TIFF of eight bytes"),
        pytest.param(jpeg_with(b"\xff" * 4_000_000), "between its segments", id="JPEG with a run of 0xFF"),
        pytest.param(jpeg_with(bytes(4_000_000)), "between its segments", id="JPEG with junk"),
        pytest.param(
            jpeg_with(*[segment(0xE2, b"x") + bytes(9_000)] * 900),
            "between its segments",
            id="JPEG, here and there",
        ),
        pytest.param(
            jpeg_with(*[b"\xff\xf1" + segment(0xF2, b"\xff" * 60_000)] * 60),
            "between its segments",
            id="JPEG with long segments that have no length",
        ),
        pytest.param(
            jpeg_with(b"\xff\xd9" + b"\xff" * 4_000_000), "between its segments", id="JPEG that ends early"
        ),
        pytest.param(
            encoded("JPEG")[:20] + bytes(4_000_000), "between its segments", id="JPEG of junk alone"
        ),
        pytest.param(gif_with(bytes(4_000_000)), "between its blocks", id="GIF with junk"),
        pytest.param(
            gif_with((b"!\xfe\0" + bytes(9_000)) * 900), "between its blocks", id="GIF, here and there"
        ),
        pytest.param(
            tiff_of_tiles(offsets=[0] * MANY, lengths=[len(EMPTY_BLOCKS)] * MANY, stream=EMPTY_BLOCKS),
            "share their data",
            id="TIFF of one tile, many times",
        ),
        pytest.param(
            tiff_of_tiles(
                offsets=range(MANY), lengths=[len(EMPTY_BLOCKS) - MANY] * MANY, stream=EMPTY_BLOCKS
            ),
            "share their data",
            id="TIFF of tiles that overlap",
        ),
        pytest.param(
            tiff_of_tiles(offsets=[0] * MANY, lengths=[len(EMPTY_BLOCKS)], stream=EMPTY_BLOCKS),
            "how long its strips are",
            id="TIFF of tiles of any length",
        ),
        pytest.param(
            tiff_of_tiles(offsets=[0] * MANY, lengths=[9] * MANY, stream=EMPTY_BLOCKS, types=(16, 4)),
            "does not say clearly",
            id="TIFF with numbers of eight bytes",
        ),
        pytest.param(with_arithmetic_coding(), "arithmetic coding", id="JPEG with arithmetic coding"),
        pytest.param(bmp_of_run_lengths(4_000_000), "BMP is compressed", id="BMP of run lengths"),
    ],
)
def test_a_file_whose_structure_takes_too_much_is_refused_at_once(data, match):
    started = time.thread_time()

    with pytest.raises(UndecodableImageError, match=match):
        decode_image(data, LIMITS)

    assert time.thread_time() - started < 0.5


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded("JPEG", progressive=True), id="ten scans"),
        pytest.param(jpeg_of_scans(20), id="thirty scans"),
        pytest.param(jpeg_with(segment(0xE2, b"\xff\xda" * 500)), id="what looks like scans, in metadata"),
        pytest.param(encoded("JPEG") + b"\xff\xda" * 500, id="what looks like scans, after the picture"),
        pytest.param(jpeg_with(segment(0xE1, b"Exif\0\0" + bytes(60_000))), id="a segment of EXIF"),
        pytest.param(jpeg_with(b"\xff" * 100, segment(0xE2, b"x"), bytes(100)), id="JPEG with some padding"),
        pytest.param(encoded("TIFF", compression="tiff_lzw"), id="TIFF"),
        pytest.param(gif_with(bytes(100)), id="GIF with some padding"),
        pytest.param(encoded("BMP"), id="BMP"),
    ],
)
def test_a_file_of_the_usual_structure_is_read(data):
    assert decode_image(data, LIMITS).size == (256, 256)


@pytest.mark.parametrize("compression", ["group3", "group4", "lzma"])
def test_a_tiff_compressed_in_an_unusual_way_is_told_which_ways_there_are(compression):
    stream = io.BytesIO()
    mode = "1" if compression.startswith("group") else "RGB"
    Image.linear_gradient("L").convert(mode).save(stream, "TIFF", compression=compression)

    with pytest.raises(UndecodableImageError, match="LZW, Deflate or JPEG"):
        decode_image(stream.getvalue(), LIMITS)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(
            b"\xff\xd8" + b"\xff\xda\0\2" * 101 + b"\xff" * 4_000_000 + b"\0", "scans", id="a run of 0xFF"
        ),
        pytest.param(b"\xff\xd8" + b"\xff\xe0\0\2" * 1_000_000, "segments", id="a million segments"),
        pytest.param(
            b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0prVt\0\0\0\0" * 1_000_000, "chunks", id="a million chunks"
        ),
        pytest.param(b"GIF89a" + bytes(7) + b"!\xfe\1a\0" * 1_000_000, "blocks", id="a million comments"),
        pytest.param(b"GIF89a" + bytes(7) + b"!\xfe" + b"\1a" * 1_000_000, "blocks", id="one long comment"),
    ],
)
def test_a_file_of_very_many_parts_is_refused_before_each_is_looked_at(data, says):
    began = time.process_time()
    with pytest.raises(UndecodableImageError, match=says):
        decode_image(data, LIMITS)
    took = time.process_time() - began

    assert took < 0.5  # of minutes


def test_a_tiff_of_tiles_each_of_which_has_data_of_its_own_is_decoded():
    data = tiff_of_tiles(offsets=range(0, 4 * len(TILE), len(TILE)), lengths=[len(TILE)] * 4, stream=4 * TILE)

    assert decode_image(data, LIMITS).size == (64, 16)

"""Decompression bombs: PNG files that are slow to decode for their size."""

import struct
import zlib

from bench.damage import PNG_SIGNATURE, with_checksums

SIDE = 7000  # pixels: just under the default limit of 50 megapixels
GREY, RGBA = 0, 6
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
PAETH = b"\x04"  # the slowest filter of a row


def deep_png(side: int = SIDE) -> bytes:
    """Return an interlaced RGBA PNG with 16 bits a channel, a thousand times as large when unpacked."""
    packer, packed = zlib.compressobj(9), list[bytes]()
    for left, top, across, down in PASSES:
        row = PAETH + bytes(8 * len(range(left, side, across)))
        packed += [packer.compress(row) for _ in range(top, side, down)]
    return png(side, depth=16, colours=RGBA, interlaced=True, data=b"".join([*packed, packer.flush()]))


def empty_blocks_png(size: int, side: int = 100) -> bytes:
    """Return a PNG of about `size` bytes, nearly all of them empty deflate blocks with Huffman tables.

    Source:
        RFC 1951, section 3.2.7: a block is a header, two code tables and data, here only its end.
    """
    block = empty_block()
    plain = zlib.compress(bytes(side * (side + 1)))
    data = plain[:2] + block * (size // len(block)) + plain[2:]
    return png(side, depth=8, colours=GREY, interlaced=False, data=data)


def empty_block() -> bytes:
    """Return eight empty deflate blocks with Huffman tables, which together fill whole bytes."""
    lengths = {18: 1, 0: 2, 1: 2}  # bits of the codes that encode code lengths; 18 repeats zero
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
    header = [(0, 1), (2, 2), (0, 5), (0, 5), (14, 4), *((lengths.get(symbol, 0), 3) for symbol in order)]
    # 256 symbols without a code, a code of one bit for the end of the block, no distances, then that end.
    # The first bit of a code comes first; of a number, the last.
    tables = [(0, 1), (138 - 11, 7), (0, 1), (118 - 11, 7), (0b11, 2), (0b01, 2), (0, 1)]
    bits = [number >> place & 1 for number, width in [*header, *tables] for place in range(width)] * 8
    return bytes(
        sum(bit << place for place, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8)
    )


def png(side: int, *, depth: int, colours: int, interlaced: bool, data: bytes) -> bytes:
    """Return a square PNG from its compressed data."""
    header = struct.pack(">IIBBBBB", side, side, depth, colours, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    packed = [struct.pack(">I", len(content)) + kind + content + bytes(4) for kind, content in chunks]
    return with_checksums(PNG_SIGNATURE + b"".join(packed))

"""Files that take as long to decode as files of their size can."""

import struct
import zlib

from bench.damage import PNG_SIGNATURE, with_checksums

SIDE = 7000  # of a picture just under the 50 megapixels that one may have
GREY, RGBA = 0, 6
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
PAETH = b"\x04"  # the filter of a row that takes longest


def deep_png(side: int = SIDE) -> bytes:
    """Return an interlaced PNG of four colours of 16 bits, a thousand times as large when unpacked."""
    packer, packed = zlib.compressobj(9), list[bytes]()
    for left, top, across, down in PASSES:
        row = PAETH + bytes(8 * len(range(left, side, across)))
        packed += [packer.compress(row) for _ in range(top, side, down)]
    return png(side, depth=16, colours=RGBA, interlaced=True, data=b"".join([*packed, packer.flush()]))


def empty_blocks_png(size: int, side: int = 100) -> bytes:
    """Return a PNG of about some bytes, most of which are tables of deflated blocks with nothing in them.

    Source:
        RFC 1951, section 3.2.7: a block is a header, two tables of codes, and here its end alone.
    """
    block = empty_block()
    plain = zlib.compress(bytes(side * (side + 1)))
    data = plain[:2] + block * (size // len(block)) + plain[2:]
    return png(side, depth=8, colours=GREY, interlaced=False, data=data)


def empty_block() -> bytes:
    """Return eight deflated blocks, which are whole bytes together, each with tables and without content."""
    lengths = {18: 1, 0: 2, 1: 2}  # of the codes that say how long the others are; 18 repeats zero
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
    header = [(0, 1), (2, 2), (0, 5), (0, 5), (14, 4), *((lengths.get(symbol, 0), 3) for symbol in order)]
    # 256 symbols without a code; the end of the block, of one bit; no distance; and that end. Codes come with
    # their first bit first, numbers with their last.
    tables = [(0, 1), (138 - 11, 7), (0, 1), (118 - 11, 7), (0b11, 2), (0b01, 2), (0, 1)]
    bits = [number >> place & 1 for number, width in [*header, *tables] for place in range(width)] * 8
    return bytes(
        sum(bit << place for place, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8)
    )


def png(side: int, *, depth: int, colours: int, interlaced: bool, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, depth, colours, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return with_checksums(
        PNG_SIGNATURE + b"".join(struct.pack(">I", len(one)) + kind + one + bytes(4) for kind, one in chunks)
    )

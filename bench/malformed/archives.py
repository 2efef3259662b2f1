"""Archives and NumPy files for /drift: damaged ones, decompression bombs, and ones with false headers."""

import io
import random
import struct
import zipfile
from collections.abc import Mapping
from functools import cache

import numpy as np

from bench.malformed.kinds import PNG, file, form, malformed, post

BOMB_BYTES = 70 * 2**20  # more than the default of MAX_BODY_BYTES


def batch(*archives: bytes) -> bytes:
    """Return a request to /drift with archives."""
    files = [file(data, filename="batch", content_type="application/octet-stream") for data in archives]
    return post("/drift", form(*files))


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return stream.getvalue()


def npy(array: np.ndarray, **options: bool) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


DIGITS = npy(np.zeros((4, 28, 28), np.uint8))
PICTURES = zipped({f"{number}.png": PNG for number in range(4)})


def npy_with_header(header: bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    padded = header.ljust(117) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(padded)) + padded + data


@cache
def bomb() -> bytes:
    return zipped({"a.png": bytes(BOMB_BYTES)})


@malformed(413, "unpacks to", "times")
def zip_bomb(_: random.Random) -> bytes:
    return batch(bomb())


@malformed(413, "unpacks to", "times")
def zip_that_claims_to_be_huge(generator: random.Random) -> bytes:
    return batch(with_sizes(PICTURES, generator.randrange(2**30, 2**32 - 1)))


@malformed(422, "damaged")
def zip_that_holds_more_than_it_says(generator: random.Random) -> bytes:
    return batch(with_sizes(zipped({"a.png": bytes(200_000)}), generator.randrange(1, 1000)))


def with_sizes(archive: bytes, size: int) -> bytes:
    """Return an archive whose headers give all members a wrong size."""
    return with_headers(archive, local=22, central=24, value=struct.pack("<I", size))


@malformed(422, "damaged", "encrypted")
def encrypted_zip(_: random.Random) -> bytes:
    return batch(with_headers(PICTURES, local=6, central=8, value=struct.pack("<H", 1)))


@malformed(422, "compressed by method")
def zip_of_a_strange_compression(generator: random.Random) -> bytes:
    method = struct.pack("<H", generator.choice([1, 6, 97, 99]))
    return batch(with_headers(PICTURES, local=8, central=10, value=method))


def with_headers(archive: bytes, *, local: int, central: int, value: bytes) -> bytes:
    """Return an archive with bytes changed in the headers of all members.

    Args:
        archive: A ZIP file.
        local: Where the bytes are in a member's local header.
        central: Where they are in its header in the central directory.
        value: The new bytes.
    """
    changed = bytearray(archive)
    for signature, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        start = -1
        while (start := archive.find(signature, start + 1)) >= 0:
            changed[start + offset : start + offset + len(value)] = value
    return bytes(changed)


@malformed(422, "damaged")
def truncated_zip(generator: random.Random) -> bytes:
    return batch(PICTURES[: generator.randrange(4, len(PICTURES) - 22)])


@malformed(422, "damaged")
def zip_with_a_flipped_byte(generator: random.Random) -> bytes:
    changed = bytearray(zipped({"a.png": PNG}, zipfile.ZIP_STORED))
    place = len(changed) // 2 - generator.randrange(100)  # in the image, which has a checksum
    changed[place] ^= 1 + generator.randrange(255)
    return batch(bytes(changed))


@malformed(422, "no image")
def empty_zip(_: random.Random) -> bytes:
    return batch(zipped({}))


@malformed(413, "files")
def zip_of_thousands_of_files(generator: random.Random) -> bytes:
    return batch(zipped({f"{number}.png": b"" for number in range(generator.randrange(1001, 2000))}))


@malformed(422, "no image")
def zip_of_other_files(generator: random.Random) -> bytes:
    return batch(
        zipped({"../../etc/passwd": b"root", "C:\\a.exe": b"MZ", "a/b.txt": generator.randbytes(50)})
    )


@malformed(422, "no image")
def zip_in_a_zip(_: random.Random) -> bytes:
    return batch(zipped({"inner.zip": PICTURES}))


@malformed(400, "send it alone")
def two_archives(_: random.Random) -> bytes:
    return batch(PICTURES, DIGITS)


@malformed(422, "call one of them images")
def npz_of_two_arrays(_: random.Random) -> bytes:
    return batch(zipped({"a.npy": DIGITS, "b.npy": DIGITS}))


@malformed(422, "send uint8", "damaged")
def npy_of_objects(_: random.Random) -> bytes:
    return batch(npy(np.array([print, {}], dtype=object), allow_pickle=True))


@malformed(422, "send uint8", "damaged")
def npz_of_objects(_: random.Random) -> bytes:
    return batch(zipped({"images.npy": npy(np.array([{}], dtype=object), allow_pickle=True)}))


@malformed(422, "send uint8")
def npy_of_another_type(generator: random.Random) -> bytes:
    dtype = generator.choice([np.float32, np.float64, np.int64, np.complex64, "S8", "M8[s]"])
    return batch(npy(np.zeros((4, 28, 28), dtype)))


@malformed(422, "send uint8")
def npy_of_another_shape(generator: random.Random) -> bytes:
    shape = generator.choice([(28,), (28, 28), (2, 28, 28, 2), (2, 0, 28), (1,) * 9])
    return batch(npy(np.zeros(shape, np.uint8)))


@malformed(422, "damaged")
def truncated_npy(generator: random.Random) -> bytes:
    return batch(DIGITS[: generator.randrange(6, len(DIGITS))])


@malformed(422, "damaged", "shape")
def npy_that_claims_to_be_huge(generator: random.Random) -> bytes:
    shape = generator.choice(
        ["(10**9, 28, 28)", "(1000000000, 28, 28)", "(2305843009213693952, 2, 4)", "(-1, 28, 28)"]
    )
    return batch(npy_with_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()))


@malformed(422, "damaged")
def npy_whose_header_is_code(generator: random.Random) -> bytes:
    return batch(
        npy_with_header(generator.choice([b"__import__('os').getpid()", b"[" * 110, b"\xff\x00", b"{1: 2}"]))
    )


@malformed(422, "damaged")
def npy_of_an_unknown_version(generator: random.Random) -> bytes:
    return batch(npy_with_header(b"{}", version=bytes([generator.randrange(4, 256), 0])))


@malformed(422, "no image")
def archive_for_classify(generator: random.Random) -> bytes:
    archive = generator.choice([PICTURES, DIGITS])
    return post("/classify", form(file(archive, filename="batch.zip")))


@malformed(422, "Send uint8")
def npy_of_what_is_no_text(_: random.Random) -> bytes:
    return batch(npy_with_header(b"{'descr': '\\ud800', 'fortran_order': False, 'shape': (2, 8, 8), }"))

"""Files that are no images, and damaged image files."""

import random
import struct
import zlib

from bench.malformed.kinds import ENDPOINTS, PNG, file, form, malformed, noise_image, post

JPEG, GIF, BMP = (noise_image(name, (64, 64)) for name in ("JPEG", "GIF", "BMP"))
HUGE = (60_000, 60_000)


def in_a_form(path: str, data: bytes, *, content_type: str = "image/png") -> bytes:
    return post(path, form(file(data, content_type=content_type)))


@malformed(422, "empty")
def empty_file(generator: random.Random) -> bytes:
    return in_a_form(generator.choice(ENDPOINTS), b"")


@malformed(422, "no image in a format known")
def noise_as_an_image(generator: random.Random) -> bytes:
    return in_a_form(generator.choice(ENDPOINTS), b"\x01" + generator.randbytes(generator.randrange(2000)))


@malformed(422, "no image in a format known")
def page_as_an_image(generator: random.Random) -> bytes:
    page = b"<!doctype html><img src=x onerror=alert(1)>"
    return in_a_form(generator.choice(ENDPOINTS), page)


@malformed(422, "no image in a format known")
def drawing_as_an_image(generator: random.Random) -> bytes:
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    return in_a_form(generator.choice(ENDPOINTS), drawing, content_type="image/svg+xml")


@malformed(422, "no image in a format known")
def script_as_an_image(generator: random.Random) -> bytes:
    drawn = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file"
    return in_a_form(generator.choice(ENDPOINTS), drawn)


@malformed(415, "send an image")
def file_of_another_type(generator: random.Random) -> bytes:
    other = generator.choice(["text/plain", "application/pdf", "video/mp4", "application/x-msdownload"])
    return in_a_form(generator.choice(ENDPOINTS), PNG, content_type=other)


@malformed(422, "damaged", "no image")
def truncated_png(generator: random.Random) -> bytes:
    return in_a_form(generator.choice(ENDPOINTS), PNG[: generator.randrange(1, len(PNG) - 40)])


@malformed(422, "damaged", "no image")
def truncated_jpeg(generator: random.Random) -> bytes:
    return in_a_form(generator.choice(ENDPOINTS), JPEG[: generator.randrange(1, len(JPEG) - 40)])


@malformed(422, "damaged", "no image")
def truncated_gif(generator: random.Random) -> bytes:
    return in_a_form(generator.choice(ENDPOINTS), GIF[: generator.randrange(1, len(GIF) // 2)])


@malformed(422, "damaged", "no image")
def truncated_bmp(generator: random.Random) -> bytes:
    return in_a_form(generator.choice(ENDPOINTS), BMP[: generator.randrange(1, len(BMP) - 40)])


@malformed(422, "damaged", "no image")
def flipped_bit_in_a_png_header(generator: random.Random) -> bytes:
    flipped = bytearray(PNG)
    flipped[generator.randrange(16, 33)] ^= 1 << generator.randrange(8)  # in IHDR, which has a checksum
    return in_a_form(generator.choice(ENDPOINTS), bytes(flipped))


@malformed(413, "pixels")
def png_that_claims_to_be_huge(generator: random.Random) -> bytes:
    width, height = (generator.randrange(20_000, 30_000) for _ in range(2))
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    checked = header + struct.pack(">I", zlib.crc32(header))
    return in_a_form(generator.choice(ENDPOINTS), PNG[:12] + checked + PNG[33:])


@malformed(413, "pixels", "side")
def gif_that_claims_to_be_huge(generator: random.Random) -> bytes:
    return in_a_form(generator.choice(ENDPOINTS), GIF[:6] + struct.pack("<HH", *HUGE) + GIF[10:])


@malformed(413, "pixels", "side")
def bmp_that_claims_to_be_huge(generator: random.Random) -> bytes:
    return in_a_form(generator.choice(ENDPOINTS), BMP[:18] + struct.pack("<ii", *HUGE) + BMP[26:])


@malformed(422, "no image in a format")
def ppm_that_claims_to_be_huge(generator: random.Random) -> bytes:
    return in_a_form(generator.choice(ENDPOINTS), b"P6 60000 60000 255\n" + bytes(100))


@malformed(422, "damaged", "no image")
def png_without_any_pixel(generator: random.Random) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", 0, 0, 8, 0, 0, 0, 0)
    checked = header + struct.pack(">I", zlib.crc32(header))
    return in_a_form(generator.choice(ENDPOINTS), PNG[:12] + checked + PNG[33:])


@malformed(422, "none of the 3 images")
def several_files_and_no_image(generator: random.Random) -> bytes:
    return post(generator.choice(ENDPOINTS), form(file(b"?"), file(b""), file(PNG[:50])))


@malformed(422, "at least 2")
def batch_of_one(_: random.Random) -> bytes:
    return in_a_form("/drift", PNG)

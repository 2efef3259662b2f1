"""Forms that cannot be parsed, or that hold other things than images."""

import random

from bench.malformed.kinds import ENDPOINTS, PNG, field, file, form, malformed, part, post

GOOD = form(file(PNG))


def to_either(generator: random.Random, body: bytes, *content_type: str | None) -> bytes:
    return post(generator.choice(ENDPOINTS), body, *content_type)


@malformed(400, "the request is empty")
def empty_body(generator: random.Random) -> bytes:
    return to_either(generator, b"")


@malformed(415, "application/json")
def json(generator: random.Random) -> bytes:
    return to_either(generator, b'{"images": []}', "application/json")


@malformed(415, "urlencoded")
def urlencoded(generator: random.Random) -> bytes:
    return to_either(generator, b"images=a", "application/x-www-form-urlencoded")


@malformed(415, "missing")
def no_content_type(generator: random.Random) -> bytes:
    return to_either(generator, GOOD, None)


@malformed(415, "content type")
def content_type_of_noise(generator: random.Random) -> bytes:
    return to_either(generator, GOOD, "".join(generator.choices("abc/;=\xe9", k=30)))


@malformed(400, "boundary")
def no_boundary(generator: random.Random) -> bytes:
    return to_either(generator, GOOD, "multipart/form-data")


@malformed(400, "boundary")
def empty_boundary(generator: random.Random) -> bytes:
    return to_either(generator, GOOD, "multipart/form-data; boundary=")


@malformed(400, "damaged")
def another_boundary(generator: random.Random) -> bytes:
    return to_either(generator, GOOD, f"multipart/form-data; boundary=y{generator.getrandbits(64):x}")


@malformed(400, "content type has")
def long_boundary(generator: random.Random) -> bytes:
    return to_either(generator, GOOD, "multipart/form-data; boundary=" + "y" * 4000)


@malformed(400, "damaged")
def boundary_of_other_letters(generator: random.Random) -> bytes:
    return to_either(generator, GOOD, "multipart/form-data; boundary=\xfc\xe9")


@malformed(400, "damaged")
def form_cut_off(generator: random.Random) -> bytes:
    return to_either(generator, GOOD[: generator.randrange(1, len(GOOD) - 6)])


@malformed(400, "damaged")
def form_of_noise(generator: random.Random) -> bytes:
    return to_either(generator, generator.randbytes(generator.randrange(1, 5000)))


@malformed(415, "content-encoding is gzip")
def compressed_form(generator: random.Random) -> bytes:
    noise = b"\x1f\x8b\x08" + generator.randbytes(300)
    return post(
        generator.choice(ENDPOINTS), noise, "multipart/form-data; boundary=x", ("Content-Encoding", "gzip")
    )


@malformed(415, "content-transfer-encoding is base64", "content-encoding is br")
def encoded_part(generator: random.Random) -> bytes:
    encoding = generator.choice([b"Content-Transfer-Encoding: base64", b"Content-Encoding: br"])
    return to_either(generator, form(encoding + b"\r\n" + file(PNG)))


@malformed(400, "damaged")
def lines_without_carriage_returns(generator: random.Random) -> bytes:
    return to_either(generator, form(field("model", b"mnist"), file(b"?")).replace(b"\r\n", b"\n"))


@malformed(400, "damaged")
def part_without_a_disposition(generator: random.Random) -> bytes:
    return to_either(generator, form(b"Content-Type: image/png\r\n\r\n" + PNG))


@malformed(400, "damaged")
def part_without_a_name(generator: random.Random) -> bytes:
    return to_either(generator, form(part('filename="a.png"', PNG)))


@malformed(400, "damaged")
def part_with_a_huge_header(generator: random.Random) -> bytes:
    return to_either(generator, form(part("name=images; filename=" + "a" * 100_000, PNG)))


@malformed(400, "damaged")
def part_with_folded_headers(generator: random.Random) -> bytes:
    folds = b"a" + b"\r\n x" * 2000 + b"\r\n"
    headers = b"".join(b"X-%d: " % number + folds for number in range(7))
    return to_either(generator, form(*[headers + file(PNG)] * 50))


@malformed(400, "damaged")
def part_with_a_header_of_noise(generator: random.Random) -> bytes:
    return to_either(generator, form(b"\x00\xff" + generator.randbytes(40).replace(b":", b"") + b"\r\n\r\n"))


@malformed(413, "more than 1000 files")
def thousands_of_files(generator: random.Random) -> bytes:
    return to_either(generator, form(*[file(b"")] * generator.randrange(1001, 3000)))


@malformed(400, "more than 20 fields")
def thousands_of_fields(generator: random.Random) -> bytes:
    count = generator.randrange(1001, 3000)
    return to_either(generator, form(*[field(f"field{number}", b"") for number in range(count)]))


@malformed(400, "send files as 'images'")
def file_under_another_name(generator: random.Random) -> bytes:
    return to_either(generator, form(part('name="image"; filename="a.png"', PNG, "image/png")))


@malformed(400, "text where a file belongs")
def string_for_a_file(generator: random.Random) -> bytes:
    return to_either(generator, form(field("images", b"digit.png")))


@malformed(400, "text where a file belongs")
def address_for_a_file(generator: random.Random) -> bytes:
    address = generator.choice([b"http://127.0.0.1:3000/metrics", b"file:///etc/passwd", b"http://[::1]/"])
    return to_either(generator, form(field("images", address)))


@malformed(400, "holds no image")
def no_image(generator: random.Random) -> bytes:
    return to_either(generator, form(field("model", b"mnist")))


@malformed(415, "multipart/mixed")
def form_in_a_form(_: random.Random) -> bytes:
    nested = form(file(PNG)).replace(b"--x", b"--y")
    return post("/classify", form(file(nested, content_type="multipart/mixed; boundary=y")))

"""Well-formed forms with an image and a wrong field."""

import random

from bench.malformed.kinds import ENDPOINTS, PNG, field, file, form, malformed, post


def with_field(path: str, name: str, value: bytes) -> bytes:
    return post(path, form(file(PNG), field(name, value), file(PNG)))


@malformed(400, "there is no field")
def unknown_field(generator: random.Random) -> bytes:
    return with_field(generator.choice(ENDPOINTS), f"topk{generator.getrandbits(32)}", b"3")


@malformed(400, "there is no field")
def field_of_the_other_endpoint(generator: random.Random) -> bytes:
    path, name = generator.choice([("/classify", "alpha"), ("/drift", "top_k")])
    return with_field(path, name, b"1")


@malformed(400, "sent twice")
def field_sent_twice(generator: random.Random) -> bytes:
    fields = [field("model", b"mnist")] * 2
    return post(generator.choice(ENDPOINTS), form(file(PNG), *fields))


@malformed(400, "1,000 bytes")
def huge_field(generator: random.Random) -> bytes:
    return with_field(generator.choice(ENDPOINTS), "model", b"m" * generator.randrange(1001, 300_000))


@malformed(400, "not in utf-8")
def field_of_broken_utf_8(generator: random.Random) -> bytes:
    return with_field(generator.choice(ENDPOINTS), "model", b"\xff\xfe" + generator.randbytes(10))


@malformed(404, "there is no model")
def unknown_model(generator: random.Random) -> bytes:
    names = [b"vgg", b"", b"../mnist", b"mnist\x00", b"mnist:latest", "ми́нист".encode()]
    return with_field(generator.choice(ENDPOINTS), "model", generator.choice(names))


@malformed(400, "model")
def long_name_of_a_model(generator: random.Random) -> bytes:
    return with_field(generator.choice(ENDPOINTS), "model", b"m" * 101)


@malformed(400, "top_k")
def impossible_top_k(generator: random.Random) -> bytes:
    values = [b"0", b"-1", b"1001", b"three", b"", b"1e400", b"9" * 900, b"\x00", b"1;2"]
    return with_field("/classify", "top_k", generator.choice(values))


@malformed(400, "alpha")
def impossible_alpha(generator: random.Random) -> bytes:
    values = [b"0", b"2", b"nan", b"inf", b"-0.05", b"1e-400", b"five percent"]
    return with_field("/drift", "alpha", generator.choice(values))


@malformed(400, "n_permutations", "permutations")
def impossible_permutations(generator: random.Random) -> bytes:
    values = [b"0", b"18", b"5000", b"1000000", b"many", b"9" * 900]
    return with_field("/drift", "n_permutations", generator.choice(values))


@malformed(400, "detector")
def unknown_detector(generator: random.Random) -> bytes:
    return with_field("/drift", "detector", generator.choice([b"psychic", b"MMD", b""]))


@malformed(400, "kernel")
def unknown_kernel(generator: random.Random) -> bytes:
    return with_field("/drift", "kernel", generator.choice([b"popcorn", b"__class__", b""]))

"""Bytes that are not HTTP, and HTTP messages that contradict themselves."""

import random

from bench.malformed.kinds import FORM_TYPE, PNG, file, form, malformed, request

GOOD = form(file(PNG))


def send(body: bytes, *headers: tuple[str, str], target: str = "/classify") -> bytes:
    return request("POST", target, [("Content-Type", FORM_TYPE), *headers], body)


@malformed(400, "the method")
def noise(generator: random.Random) -> bytes:
    return b"\x00" + generator.randbytes(generator.randrange(1, 2000)) + b"\r\n\r\n"


@malformed(400, "the method")
def beginning_of_tls(generator: random.Random) -> bytes:
    return b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + generator.randbytes(300)


@malformed(400, "not an http request")
def preface_of_http_2(_: random.Random) -> bytes:
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)


@malformed(400, "method")
def unknown_method(generator: random.Random) -> bytes:
    method = generator.choice(["FETCH", "post", "GETGET", "G\x00T", "\xfc"])
    return request(method, "/models")


@malformed(400, "the version")
def unknown_version(generator: random.Random) -> bytes:
    version = generator.choice([b"HTTP/9.9", b"HTTP/1", b"HTTP/a.b", b"FTP/1.1", b"HTTP/1.1 x"])
    return b"GET /models " + version + b"\r\nHost: x\r\n\r\n"


@malformed(400, "the request is empty")
def empty_request_of_http_1_0(_: random.Random) -> bytes:
    return b"POST /classify HTTP/1.0\r\n\r\n"


@malformed(400, "no host header")
def request_without_a_host(_: random.Random) -> bytes:
    return b"POST /drift HTTP/1.1\r\nContent-Length: 0\r\n\r\n"


@malformed(400, "host header")
def request_with_two_hosts_or_an_odd_one(generator: random.Random) -> bytes:
    hosts = generator.choice([b"x\r\nHost: y", b"x/y", b"x y", b"x@y", b"x:y", b"\xfc", b"[::1"])
    return b"GET /models HTTP/1.1\r\nHost: " + hosts + b"\r\n\r\n"


@malformed(400, "the request is empty")
def upgrade_of_an_empty_request(generator: random.Random) -> bytes:
    protocol = generator.choice(["h2c", "websocket", "TLS/1.2", "h2c, websocket"])
    return send(b"", ("Connection", "upgrade"), ("Upgrade", protocol), ("Content-Length", "0"))


@malformed(400, "the address")
def null_byte_in_the_path(_: random.Random) -> bytes:
    return b"GET /mod\x00els HTTP/1.1\r\nHost: x\r\n\r\n"


@malformed(400, "the version")
def space_in_the_path(_: random.Random) -> bytes:
    return request("GET", "/models and more")


@malformed(400, "a header")
def header_without_a_colon(_: random.Random) -> bytes:
    return b"GET /models HTTP/1.1\r\nHost: x\r\nrubbish\r\n\r\n"


@malformed(400, "a header")
def header_name_of_other_bytes(generator: random.Random) -> bytes:
    name = generator.choice([b"X Y", b"X\x00Y", b"\xfc", b"X(Y)", b""])
    return b"GET /models HTTP/1.1\r\nHost: x\r\n" + name + b": 1\r\n\r\n"


@malformed(400, "a header")
def header_with_control_bytes(generator: random.Random) -> bytes:
    value = generator.choice([b"a\x00b", b"a\rb", b"a\x01b", b"\x7f"])
    return b"GET /models HTTP/1.1\r\nHost: x\r\nX-Y: " + value + b"\r\n\r\n"


@malformed(400, "content-length")
def negative_length(generator: random.Random) -> bytes:
    return send(GOOD, ("Content-Length", f"-{generator.randrange(1, 10**6)}"))


@malformed(400, "content-length")
def length_that_is_no_number(generator: random.Random) -> bytes:
    return send(GOOD, ("Content-Length", generator.choice(["many", "0x10", "1e3", "1 2", "+5", "9" * 40])))


@malformed(400, "content-length")
def two_lengths(generator: random.Random) -> bytes:
    return send(GOOD, ("Content-Length", str(len(GOOD))), ("Content-Length", str(generator.randrange(100))))


@malformed(400, "HTTP", "damaged", "empty")
def length_that_is_too_small(generator: random.Random) -> bytes:
    return send(GOOD, ("Content-Length", str(generator.randrange(len(GOOD) - 10))))


@malformed(408, "seconds", is_slow=True)
def length_that_is_too_large(generator: random.Random) -> bytes:
    return send(GOOD, ("Content-Length", str(len(GOOD) + generator.randrange(1, 10**6))))


@malformed(408, "seconds", is_slow=True)
def headers_without_an_end(generator: random.Random) -> bytes:
    whole = send(b"", ("Content-Length", "9"), ("X-Y", "z" * 100))
    return whole[: generator.randrange(10, len(whole) - 3)]


@malformed(408, "seconds", is_slow=True)
def chunks_without_an_end(_: random.Random) -> bytes:
    return send(b"5\r\n--x\r\n\r\n", ("Transfer-Encoding", "chunked"))


@malformed(400, "the request is empty")
def length_of_zeros(generator: random.Random) -> bytes:
    return send(b"", ("Content-Length", "0" * generator.randrange(4000, 9000)))


@malformed(413, "send at most")
def length_over_the_limit(generator: random.Random) -> bytes:
    length = "0" * generator.randrange(9000) + str(generator.randrange(2**27, 2**40))
    return send(b"", ("Content-Length", length), ("Expect", "100-continue"))


@malformed(413, "send at most", is_slow=True)
def body_over_the_limit_that_does_not_come(generator: random.Random) -> bytes:
    return send(
        GOOD[: generator.randrange(len(GOOD))], ("Content-Length", str(generator.randrange(2**27, 2**40)))
    )


@malformed(400, "content-length beside transfer-encoding")
def length_and_chunks(_: random.Random) -> bytes:
    smuggled = b"0\r\n\r\nGET /models HTTP/1.1\r\nHost: x\r\n\r\n"
    return send(smuggled, ("Content-Length", str(len(smuggled))), ("Transfer-Encoding", "chunked"))


@malformed(400, "content-length beside transfer-encoding")
def chunks_and_length(_: random.Random) -> bytes:
    return send(b"0\r\n\r\n", ("Transfer-Encoding", "chunked"), ("Content-Length", "5"))


@malformed(400, "transfer-encoding")
def unknown_transfer_encoding(generator: random.Random) -> bytes:
    coding = generator.choice(["gzip", "chunked, identity", "xchunked", "chunked, chunked, gzip"])
    return send(GOOD, ("Transfer-Encoding", coding))


@malformed(400, "a chunk")
def chunk_size_that_is_no_number(generator: random.Random) -> bytes:
    size = generator.choice([b"xyz", b"-5", b"0x5", b"f" * 40, b" 5", b""])
    return send(size + b"\r\nhello\r\n0\r\n\r\n", ("Transfer-Encoding", "chunked"))


@malformed(400, "a chunk")
def chunk_longer_than_its_size(_: random.Random) -> bytes:
    return send(b"3\r\nhello\r\n0\r\n\r\n", ("Transfer-Encoding", "chunked"))


@malformed(400, "HTTP", "damaged")
def rubbish_behind_a_request(generator: random.Random) -> bytes:
    body = b"--x\r\nrubbish"
    return send(body, ("Content-Length", str(len(body)))) + b"\x00" + generator.randbytes(100) + b"\r\n\r\n"


@malformed(400, "the request is empty")
def odd_expectation(generator: random.Random) -> bytes:
    return send(b"", ("Content-Length", "0"), ("Expect", generator.choice(["200-ok", "", "a" * 500])))


@malformed(431, "header", "bytes")
def huge_header(generator: random.Random) -> bytes:
    return request("GET", "/models", [("X-Y", "z" * generator.randrange(200_000, 400_000))])


@malformed(431, "header", "bytes")
def thousands_of_headers(_: random.Random) -> bytes:
    return request("GET", "/models", [(f"X-{number}", "y" * 50) for number in range(5000)])

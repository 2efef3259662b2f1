"""Requests with a wrong path, query string or method."""

import random

from bench.malformed.kinds import ENDPOINTS, FORM_TYPE, PNG, file, form, malformed, request


@malformed(404, "there is nothing at")
def unknown_path(generator: random.Random) -> bytes:
    return request(generator.choice(["GET", "POST", "PUT"]), f"/{generator.getrandbits(64):x}")


@malformed(404, "there is nothing at")
def path_that_climbs(generator: random.Random) -> bytes:
    up = generator.choice(["/..", "/%2e%2e", "/..%2f", "/..\\", "//"])
    return request("GET", up * generator.randrange(1, 20) + "/etc/passwd")


@malformed(404, "there is nothing at")
def path_of_damaged_percents(generator: random.Random) -> bytes:
    damaged = ["/%", "/%zz", "/models%00", "/%ff%fe", "/models%0d%0aX:y", "/%u0041", "/models%"]
    return request("GET", generator.choice(damaged))


@malformed(404, "there is nothing at")
def endpoint_in_other_letters(generator: random.Random) -> bytes:
    return request("GET", generator.choice(["/Models", "/MODELS", "/models;a=b", "/models.json"]))


@malformed(405, "does not take")
def method_that_an_endpoint_does_not_take(generator: random.Random) -> bytes:
    method = generator.choice(["GET", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
    return request(method, generator.choice(ENDPOINTS))


@malformed(405, "does not take")
def body_for_get(generator: random.Random) -> bytes:
    body = generator.randbytes(generator.randrange(1, 100_000))
    return request("GET", generator.choice(ENDPOINTS), [("Content-Length", str(len(body)))], body)


@malformed(405, "does not take")
def post_to_models(_: random.Random) -> bytes:
    return request("POST", "/models?" + "a=b&" * 100, [("Content-Length", "0")])


@malformed(404, "there is nothing at")
def endpoint_with_a_slash_too_many(generator: random.Random) -> bytes:
    return request(generator.choice(["GET", "POST"]), generator.choice(ENDPOINTS) + "/")


@malformed(400, "query string")
def field_in_the_query_string(generator: random.Random) -> bytes:
    body = form(file(PNG))
    query = generator.choice(["detector=ks", "top_k=3", "model", "=", "a=b&" * 1000, "%ff%00"])
    headers = [("Content-Type", FORM_TYPE), ("Content-Length", str(len(body)))]
    return request("POST", f"{generator.choice(ENDPOINTS)}?{query}", headers, body)


@malformed(404, "there is nothing at")
def address_of_another_service(generator: random.Random) -> bytes:
    return request("GET", generator.choice(["http://169.254.169.254/latest", "http://127.0.0.1:22/ssh"]))


@malformed(400, "HTTP")
def path_of_other_bytes(_: random.Random) -> bytes:
    return request("GET", "/models\xff\xfe")


@malformed(431, "bytes", "header")
def very_long_path(generator: random.Random) -> bytes:
    return request("GET", "/" + "a" * generator.randrange(200_000, 400_000))


@malformed(431, "bytes", "header")
def very_long_query(_: random.Random) -> bytes:
    return request("GET", "/models?" + "a=b&" * 70_000)

"""Requests that make no sense, sent to a real service: each gets a problem that says what was wrong."""

import pytest

PROBLEM = "application/problem+json"
GARBAGE = ("garbage.png", bytes(range(256)) * 4, "image/png")
FORM = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n\xff-\r\n--x--\r\n'
TEXT = ("letter.png", b"Dear reader, this is text.", "image/png")


def folded() -> bytes:
    """A form of 50 parts whose headers are folded into thousands of lines, slow to put together."""
    folds = b"a" + b"\r\n x" * 2000 + b"\r\n"
    part = b"--x\r\n" + b"".join(b"X-%d: " % number + folds for number in range(7))
    return (
        part + b'Content-Disposition: form-data; name="images"; filename="a"\r\n\r\n\r\n'
    ) * 50 + b"--x--\r\n"


@pytest.mark.parametrize("path", ["/classify", "/drift"])
@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        pytest.param({"files": {"images": GARBAGE}}, 422, "no image in a format known", id="garbage"),
        pytest.param({"files": {"images": TEXT}}, 422, "no image in a format known", id="text as .png"),
        pytest.param({"files": {"images": ("a.txt", b"hi", "text/plain")}}, 415, "text/plain", id="text"),
        pytest.param({"files": {"images": ("a.png", b"", "image/png")}}, 422, "empty", id="empty file"),
        pytest.param({}, 400, "The request is empty", id="empty body"),
        pytest.param({"json": {"images": []}}, 415, "application/json", id="JSON"),
        pytest.param({"data": {"images": "a"}}, 415, "urlencoded", id="form without files"),
        pytest.param(
            {"files": {"images": (None, "http://127.0.0.1/a.png")}}, 400, "text", id="string for file"
        ),
        pytest.param({"files": {"image": GARBAGE}}, 400, "Send files as 'images'", id="wrong field"),
        pytest.param({"files": {"model": (None, "mnist")}}, 400, "holds no image", id="no image"),
        pytest.param(
            {"files": {"images": GARBAGE}, "data": {"topk": "3"}}, 400, "'topk'", id="unknown field"
        ),
        pytest.param(
            {"files": {"images": GARBAGE}, "data": {"model": "vgg"}}, 404, "'vgg'", id="unknown model"
        ),
        pytest.param(
            {"files": [("images", GARBAGE), ("model", (None, "a")), ("model", (None, "b"))]},
            400,
            "twice",
            id="field sent twice",
        ),
        pytest.param({"files": [("images", GARBAGE)] * 2000}, 413, "more than 1000 files", id="2,000 files"),
        pytest.param(
            {"content": b"--x\r\nrubbish", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            "multipart",
            id="damaged multipart",
        ),
        pytest.param(
            {"content": FORM, "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            "not in utf-8",
            id="a field of other bytes",
        ),
        pytest.param(
            {"files": {"images": GARBAGE}, "headers": {"content-encoding": "gzip"}},
            415,
            "Content-Encoding is gzip",
            id="a compressed form",
        ),
        pytest.param(
            {"files": {"images": GARBAGE}, "headers": {"content-encoding": "br, gzip"}},
            415,
            "Content-Encoding is br, gzip",
            id="a form compressed twice",
        ),
        pytest.param(
            {"files": {"images": (*GARBAGE, {"Content-Transfer-Encoding": "base64"})}},
            415,
            "part's Content-Transfer-Encoding is base64",
            id="a file in letters",
        ),
        pytest.param(
            {"files": {"images": (*GARBAGE, {"Content-Encoding": "gzip"})}},
            415,
            "part's Content-Encoding is gzip",
            id="a compressed file",
        ),
        pytest.param(
            {"content": folded(), "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            "The form is damaged",
            id="folded headers",
        ),
        pytest.param(
            {"content": b"", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            "The request is empty",
            id="nothing after the boundary",
        ),
        pytest.param(
            {"files": {"images": GARBAGE}, "data": {"model": "m" * 2000}}, 400, "1,000 bytes", id="long"
        ),
        pytest.param(
            {"content": b"rubbish", "headers": {"content-type": "multipart/form-data"}},
            400,
            "boundary",
            id="no boundary",
        ),
    ],
)
def test_a_request_that_makes_no_sense_is_the_callers_problem(service, path, request_, status, says):
    response = service.post(path, **request_)

    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    document = response.json()
    assert {"type", "title", "status", "detail"} <= document.keys()
    assert says in document["detail"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"alpha": "2"}, "alpha"),
        ({"alpha": "0"}, "alpha"),
        ({"alpha": "nan"}, "alpha"),
        ({"alpha": "0.0005"}, "at least 1999 permutations"),
        ({"alpha": "0.0005", "detector": "label_shift"}, "at least 1999 permutations"),
        ({"n_permutations": "5000"}, "from 1 to 999 permutations"),
        ({"n_permutations": "1000000"}, "n_permutations"),
        ({"n_permutations": "many"}, "n_permutations"),
        ({"detector": "psychic"}, "detector"),
        ({"kernel": "popcorn"}, "kernel"),
    ],
    ids=str,
)
def test_a_drift_field_out_of_range_is_an_error_that_names_it(service, as_files, held_out, fields, says):
    response = service.post("/drift", files=as_files(held_out.images[:2]), data=fields)

    assert response.status_code == 400
    assert says in response.json()["detail"]


@pytest.mark.parametrize("query", ["detector=ks", "model", "top_k=3&alpha=0.1", "=", "&", "%ff"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/classify"), ("POST", "/drift"), ("GET", "/models")])
def test_a_query_string_is_refused_as_an_unknown_field_is(service, as_files, held_out, method, path, query):
    """For what it says would be ignored, and another test made than the one that was asked for."""
    files = as_files(held_out.images[:2]) if method == "POST" else None

    response = service.request(method, f"{path}?{query}", files=files)
    without = service.request(method, f"{path}?", files=files)

    assert (response.status_code, without.status_code) == (400, 200)
    assert "query string" in response.json()["detail"]
    assert query.partition("=")[0] in response.json()["detail"]


@pytest.mark.parametrize("header", ["Range", "If-Range", "If-Modified-Since"])
@pytest.mark.parametrize(
    "value", ["bytes={}-", "bytes=-{}", "bytes=0-{}", "Sat, {} Nov {} 08:49:37 GMT", "{}"]
)
@pytest.mark.parametrize("digits", ["0" * 5000, "9" * 5000, "1" * 20], ids=len)
def test_numbers_in_headers_are_no_defect_however_long_they_are(service, header, value, digits):
    path = "/static_content/index.css"
    headers = {header: value.replace("{}", digits)}

    response = service.get(path, headers=headers)

    assert response.status_code < 500
    assert response.status_code < 400 or response.json()["detail"].strip()


@pytest.mark.parametrize("range_", ["bytes=9999999-", "bytes=5-2", "pages=1-2", "bytes", "bytes=,"])
def test_a_part_that_a_file_does_not_have_is_refused_in_words(service, range_):
    response = service.get("/static_content/index.css", headers={"Range": range_})

    assert response.status_code in {400, 416}
    assert "Send bytes=FIRST-LAST" in response.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/classify/"),
        ("POST", "/drift/"),
        ("GET", "/models/"),
        ("GET", "/metrics/"),
        ("GET", "/readyz/"),
        ("GET", "/docs.json/"),
        ("GET", "/schema.json/"),
        ("GET", "/static_content"),
    ],
)
def test_nobody_is_sent_to_a_host_that_the_client_has_named(service, method, path):
    response = service.request(method, path, headers={"Host": "elsewhere.example"}, follow_redirects=False)

    assert response.status_code == 404
    assert "location" not in response.headers
    assert "elsewhere" not in response.text + str(response.headers)


@pytest.mark.parametrize("top_k", ["0", "-1", "1001", "three", ""])
def test_a_top_k_out_of_range_is_an_error_that_names_it(service, as_files, held_out, top_k):
    response = service.post("/classify", files=as_files(held_out.images[:1]), data={"top_k": top_k})

    assert response.status_code == 400
    assert "top_k" in response.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"alpha": "2"}, "alpha must be a number, at least 0.0001, less than 1 (it was '2')."),
        ({"n_permutations": "9" * 900}, "n_permutations must be a whole number, at least 19, at most 9999"),
        ({"detector": "psychic"}, "detector must be one of mmd, ks, label_shift (it was 'psychic')."),
        ({"model": "m" * 101}, "model must be text, at most 100 characters long (it was 'mmm"),
        ({"topk": "3"}, "There is no field 'topk'. There are: images, model, detector, kernel, alpha, n_"),
    ],
    ids=["a number", "a whole number", "a name of few", "text", "a field"],
)
def test_what_a_field_may_be_is_said_in_words_that_are_not_the_validators(
    service, as_files, held_out, fields, says
):
    wrong = fields | {"kernel": "popcorn"}

    problem = service.post("/drift", files=as_files(held_out.images[:2]), data=wrong).json()

    by_field = {error["field"]: error["detail"] for error in problem["errors"]}
    assert problem["detail"] == problem["errors"][0]["detail"]
    assert by_field.keys() == wrong.keys()
    assert by_field[next(iter(fields))].startswith(says)
    assert "Input" not in str(problem)


def test_a_long_field_is_not_repeated_in_the_answer(service, as_files, held_out):
    response = service.post("/drift", files=as_files(held_out.images[:2]), data={"kernel": "k" * 500_000})

    assert response.status_code == 400
    assert len(response.content) < 1000


def test_one_image_is_no_batch(service, as_files, held_out):
    response = service.post("/drift", files=as_files(held_out.images[:1]))

    assert response.status_code == 422
    assert "at least 2" in response.json()["detail"]


def test_when_no_image_can_be_used_the_problem_names_each(service):
    response = service.post("/classify", files=[("images", GARBAGE), ("images", TEXT)])

    assert response.status_code == 422
    document = response.json()
    assert "None of the 2 images" in document["detail"]
    assert [error["filename"] for error in document["image_errors"]] == ["garbage.png", "letter.png"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/classify", 405), ("PUT", "/drift", 405), ("POST", "/models", 405)],
)
def test_what_bentoml_and_starlette_refuse_is_a_problem_document_too(service, method, path, status):
    response = service.request(method, path)

    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM
    assert response.json()["status"] == status

"""Requests taken apart: what was put in comes out, whoever put it in."""

import asyncio
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from serving.errors import MalformedRequestError, OverloadedError, SlowClientError
from serving.requests.admission import MemoryBudget
from serving.requests.multipart import UPLOAD_BYTES, Submission, read_submission
from serving.schemas import ClassifyForm
from vision.errors import TooLargeError

HEADER = b"--x\r\nContent-Disposition: form-data; "


def parse(
    data: bytes,
    *,
    content_type: str = "multipart/form-data; boundary=x",
    max_images: int = 1000,
    chunk_bytes: int = 7,
    budget: MemoryBudget | None = None,
) -> Submission[ClassifyForm]:
    """Read a request that arrives in small pieces."""
    stream = io.BytesIO(data)

    async def receive() -> dict:
        chunk = stream.read(chunk_bytes)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    headers = [(b"content-type", content_type.encode("latin-1"))]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    with (budget or MemoryBudget(10**6)).for_request() as held:
        reading = read_submission(request, ClassifyForm, max_images=max_images, pause_seconds=60, held=held)
        return asyncio.run(reading)


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=5))
def test_files_come_out_as_they_went_in(files):
    """Whatever is in them, but for the boundary, which clients choose so that it is not."""
    files = [file.replace(b"--x", b"---") for file in files]
    parts = [b'name="images"; filename="%d"\r\n\r\n' % index + file for index, file in enumerate(files)]

    submission = parse(b"".join(HEADER + part + b"\r\n" for part in parts) + b"--x--\r\n")

    assert [upload.data for upload in submission.uploads] == files
    assert [upload.filename for upload in submission.uploads] == [str(index) for index in range(len(files))]


@given(st.binary(max_size=300))
def test_what_is_no_form_is_refused(rubbish):
    with pytest.raises(MalformedRequestError):
        parse(rubbish)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_name_in_another_alphabet_arrives_however_it_was_encoded(encoding):
    named = HEADER + 'name="images"; filename="größe.png"'.encode(encoding)

    submission = parse(named + b"\r\nContent-Type: image/png\r\n\r\nabc\r\n--x--\r\n")

    assert [(one.filename, one.content_type) for one in submission.uploads] == [("größe.png", "image/png")]


def test_more_files_than_are_taken_are_too_many():
    one = HEADER + b'name="images"; filename="a"\r\n\r\nabc\r\n'

    assert len(parse(one * 3 + b"--x--", max_images=3).uploads) == 3
    with pytest.raises(TooLargeError, match="more than 3 files"):
        parse(one * 4 + b"--x--", max_images=3)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        pytest.param(b"--y\r\n" + b"a" * 100, "boundary that the content type names", id="boundary"),
        pytest.param(HEADER + b'name="images"\r\nX\r\n\r\n', "headers of a part", id="header"),
        pytest.param(b"--x\r\nContent-Disposition: form-data\n\n", "carriage return", id="line feeds"),
        pytest.param(HEADER + b'name="model"\r\nContent-Length: x\r\n\r\n', "as long as", id="length"),
        pytest.param(HEADER + b'name="model"\r\n\r\nabc', "last boundary is missing", id="no end"),
    ],
)
def test_what_is_wrong_with_a_form_is_said_in_words_that_are_not_the_parsers(form, says):
    with pytest.raises(MalformedRequestError, match=says) as raised:
        parse(form, chunk_bytes=1000)

    assert "segment" not in raised.value.detail
    assert "Parser" not in raised.value.detail


@pytest.mark.parametrize("encoding", ["binary", "8bit", "7bit", "Binary"])
def test_a_part_that_says_that_it_is_as_it_is_is_taken(encoding):
    encoded = HEADER + b'name="images"; filename="a"\r\nContent-Transfer-Encoding: ' + encoding.encode()

    submission = parse(encoded + b"\r\n\r\nabc\r\n--x--\r\n")

    assert [upload.data for upload in submission.uploads] == [b"abc"]


def test_a_form_that_is_cut_off_is_damaged():
    whole = HEADER + b'name="images"; filename="a"\r\n\r\nabc\r\n--x--\r\n'

    for length in range(1, len(whole) - 4):
        with pytest.raises(MalformedRequestError):
            parse(whole[:length])


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('multipart/form-data; boundary="a b"', b"a b"),
        ("multipart/form-data; boundary=----=_Part_1", b"----=_Part_1"),
        ("Multipart/Form-Data; charset=UTF-8; boundary=abc", b"abc"),
        ("multipart/form-data; boundary=abc; charset=ISO-8859-1", b"abc"),
        ('multipart/form-data; charset="no-such"; boundary=abc', b"abc"),
    ],
)
def test_the_boundary_is_found_however_it_is_named(content_type, boundary):
    part = b'Content-Disposition: form-data; name="images"; filename="a"\r\n\r\nabc\r\n'

    submission = parse(b"--%b\r\n" % boundary + part + b"--%b--" % boundary, content_type=content_type)

    assert [upload.data for upload in submission.uploads] == [b"abc"]


@pytest.mark.parametrize("chunk_bytes", [1, 10, 1000], ids="{} bytes at a time".format)
def test_what_follows_the_form_means_nothing_however_it_arrives(chunk_bytes):
    whole = HEADER + b'name="images"; filename="a"\r\n\r\nabc\r\n--x--\r\nfarewell'

    submission = parse(whole, chunk_bytes=chunk_bytes)

    assert [upload.data for upload in submission.uploads] == [b"abc"]


def test_what_there_is_no_budget_for_is_to_come_again_and_budget_is_given_back():
    whole = HEADER + b'name="images"; filename="a"\r\n\r\nabc\r\n--x--\r\n'
    budget = MemoryBudget(len(whole) + UPLOAD_BYTES + 100)

    with budget.for_request() as other:
        other.take(101)
        with pytest.raises(OverloadedError, match="again"):
            parse(whole, budget=budget)
    submission = parse(whole, budget=budget)

    assert len(submission.uploads) == 1
    assert budget.taken == 0


def test_a_file_takes_budget_however_short_it_is():
    parts = b"".join(HEADER + b'name="images"; filename="%d"\r\n\r\n\r\n' % index for index in range(500))

    with pytest.raises(OverloadedError):
        parse(parts + b"--x--\r\n", budget=MemoryBudget(2 * len(parts)))


def test_a_long_name_is_refused_since_answers_repeat_it():
    with pytest.raises(MalformedRequestError, match="1,000 characters"):
        parse(HEADER + b'name="images"; filename="%b"\r\n\r\nabc\r\n--x--\r\n' % (b"a" * 1001))


def test_a_client_that_sends_nothing_is_too_slow():
    async def receive() -> dict:
        await asyncio.sleep(3600)
        raise AssertionError("nobody waits for an hour")

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)

    with MemoryBudget(1000).for_request() as held, pytest.raises(SlowClientError, match=r"0\.01 seconds"):
        asyncio.run(read_submission(request, ClassifyForm, max_images=1, pause_seconds=0.01, held=held))

"""Requests taken apart: what was put in comes out, whoever put it in."""

import asyncio
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from serving.errors import MalformedRequestError, TooLargeError
from serving.schemas import ClassifyForm
from serving.uploads import Body, Submission, parse_submission, read_body

HEADER = b"--x\r\nContent-Disposition: form-data; "


def parse(data: bytes, max_images: int = 1000) -> Submission[ClassifyForm]:
    return parse_submission(Body(data, "x"), ClassifyForm, max_images=max_images)


def body_of(content_type: str, data: bytes = b"content") -> Body:
    stream = io.BytesIO(data)

    async def receive() -> dict:
        chunk = stream.read(3)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    headers = [(b"content-type", content_type.encode("latin-1"))]
    return asyncio.run(read_body(Request({"type": "http", "method": "POST", "headers": headers}, receive)))


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


def test_a_form_that_is_cut_off_is_damaged():
    whole = HEADER + b'name="images"; filename="a"\r\n\r\nabc\r\n--x--\r\n'

    for length in range(1, len(whole) - 4):
        with pytest.raises(MalformedRequestError):
            parse(whole[:length])


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ('multipart/form-data; boundary="a b"', "a b"),
        ("multipart/form-data; boundary=----=_Part_1", "----=_Part_1"),
        ("Multipart/Form-Data; charset=UTF-8; boundary=abc", "abc"),
    ],
)
def test_the_boundary_is_found_however_it_is_named(content_type, boundary):
    assert body_of(content_type) == Body(b"content", boundary)

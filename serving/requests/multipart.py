"""Parsing of multipart requests: the files under `images`, and the fields beside them."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Generic

import multipart
from multipart import MultipartError, MultipartSegment, PushMultipartParser
from starlette.requests import Request

from serving.errors import MalformedRequestError, SlowClientError
from serving.requests.admission import RequestMemory
from serving.requests.fields import FILES_FIELD, FormType, validated
from vision.errors import MAX_ECHO, MAX_NAME, TooLargeError, UnsupportedTypeError
from vision.images.read import Upload

MAX_FIELDS, MAX_FIELD_BYTES = 20, 1000
MAX_CONTENT_TYPE = 1000  # characters
UPLOAD_BYTES = 600  # what Python takes for each file beside its content
ENCODING_HEADERS = ("content-encoding", "transfer-encoding", "content-transfer-encoding")
NO_ENCODING = ("", "identity", "chunked", "binary", "8bit", "7bit")
FAULTS = {  # faults of a form, by a word of the parser's message
    "content-length": "a part is not as long as it says",
    "line break": "its lines do not end with a carriage return and a line feed",
    "boundary": "its parts are not divided by the boundary that the content type names",
    "header": "the headers of a part cannot be read",
}
HOW_TO_SEND = (
    "Send multipart/form-data with one or more files named 'images', for example: curl -F images=@digit.png"
)


@dataclass(frozen=True)
class Submission(Generic[FormType]):
    """A request's fields and files."""

    form: FormType
    uploads: list[Upload]


async def read_submission(
    request: Request, form_type: type[FormType], *, max_images: int, pause_seconds: float, held: RequestMemory
) -> Submission[FormType]:
    """Return the files and fields of a multipart request, parsed as it arrives so that no byte is held twice.

    Args:
        request: The request.
        form_type: The fields that may stand beside the files.
        max_images: More files than this are refused.
        pause_seconds: How long the client may send nothing.
        held: Counts the bytes that are read; the caller gives them back.

    Raises:
        UnsupportedTypeError: The body is of another type.
        MalformedRequestError: The body is empty or damaged, holds no file, or has a field that is unknown,
            repeated or out of range.
        TooLargeError: There are too many files.
        SlowClientError: The client has paused for too long.
        OverloadedError: The memory for requests is taken.
    """
    parts: Parts | None = None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(pause_seconds) as patience:
            async for chunk in request.stream():
                if chunk:
                    held.take(len(chunk))
                    parts = parts or Parts(boundary_of(request), max_images)
                    n_before = len(parts.uploads)
                    parts.take(chunk)
                    held.take((len(parts.uploads) - n_before) * UPLOAD_BYTES)
                    patience.reschedule(loop.time() + pause_seconds)
        if parts is None:
            raise MalformedRequestError(f"The request is empty. {HOW_TO_SEND}")
        fields, uploads = parts.end()
    except TimeoutError:
        raise SlowClientError(
            f"Nothing of the body has come for {pause_seconds:g} seconds. Send it without pauses."
        ) from None
    except MultipartError as error:
        raise MalformedRequestError(f"The form is damaged: {fault_of(error)}. {HOW_TO_SEND}") from None
    if not uploads:
        raise MalformedRequestError(f"The request holds no image. {HOW_TO_SEND}")
    return Submission(validated(fields, form_type), uploads)


def boundary_of(request: Request) -> str:
    """Return the boundary between the parts of a form that is not compressed."""
    check_encoding("request", request.headers.items())
    given = request.headers.get("content-type", "")
    if len(given) > MAX_CONTENT_TYPE:  # to take a long one apart takes seconds
        raise MalformedRequestError(
            f"The content type has {len(given):,} characters. Send at most {MAX_CONTENT_TYPE:,}."
        )
    header = Message()
    header["content-type"] = given
    (media_type, _), *options = header.get_params([("", "")])  # all at once, since each call parses them
    if media_type.lower() != "multipart/form-data":
        raise UnsupportedTypeError(
            f"The request's content type is {media_type[:MAX_ECHO] or 'missing'}. {HOW_TO_SEND}"
        )
    named = {name.lower(): str(value) for name, value in reversed(options)}  # the first of a name counts
    boundary = named.get("boundary", "")  # and a charset means nothing (RFC 7578, 5.1.2)
    if not boundary:
        raise MalformedRequestError(f"The content type names no boundary. {HOW_TO_SEND}")
    return boundary


def check_encoding(what: str, headers: Iterable[tuple[str, str]]) -> None:
    """Refuse a request or part whose headers say that it is compressed or encoded."""
    for name, value in headers:
        if name.lower() in ENCODING_HEADERS and value.strip().lower() not in NO_ENCODING:
            raise UnsupportedTypeError(
                f"The {what}'s {name.title()} is {value[:MAX_ECHO]}. Send it as it is, without one."
            )


def fault_of(error: MultipartError) -> str:
    """Return what is wrong with a form, in words of our own."""
    said = str(error.args[0]).lower()
    return next((fault for word, fault in FAULTS.items() if word in said), "its last boundary is missing")


class Parts:
    """The fields and files of a form as they arrive.

    A fault is raised at once, before the rest of the form has arrived.
    """

    def __init__(self, boundary: str, max_images: int) -> None:
        # Strict, else a header could be folded into thousands of lines, which take seconds to join.
        self.parser = PushMultipartParser(
            boundary, max_segment_count=max_images + MAX_FIELDS + 1, header_charset="latin-1", strict=True
        )
        self.max_images = max_images
        self.fields, self.uploads = dict[str, str](), list[Upload]()
        self.name, self.filename, self.content_type, self.data = "", None, "", bytearray()

    def take(self, chunk: bytes) -> None:
        """Take the next piece of the body."""
        if self.parser._state is multipart._COMPLETE:  # it has no public name
            return  # bytes after the last boundary mean nothing
        for event in self.parser.parse(chunk):
            if isinstance(event, MultipartSegment):
                self.begin(event)
            elif event is None:
                self.finish()
            else:
                self.data += event
                if self.filename is None and len(self.data) > MAX_FIELD_BYTES:
                    raise MalformedRequestError(
                        f"The field {self.name[:MAX_ECHO]!r} has more than {MAX_FIELD_BYTES:,} bytes. "
                        "Send fewer."
                    )

    def begin(self, segment: MultipartSegment) -> None:
        self.name, self.data = decoded(segment.name), bytearray()
        self.filename, self.content_type = segment.filename, segment.content_type or ""
        check_encoding("part", segment.headerlist)
        if self.filename is None:
            check_field(self.fields, self.name)
        elif self.name != FILES_FIELD:
            raise MalformedRequestError(
                f"A file was sent as {self.name[:MAX_ECHO]!r}. Send files as '{FILES_FIELD}'."
            )
        elif len(self.filename) > MAX_NAME:
            raise MalformedRequestError(f"A file's name has more than {MAX_NAME:,} characters. Shorten it.")
        elif len(self.uploads) == self.max_images:
            raise TooLargeError(f"The request has more than {self.max_images} files. Send them in several.")

    def finish(self) -> None:
        if self.filename is None:
            try:
                self.fields[self.name] = self.data.decode()
            except UnicodeDecodeError:
                raise MalformedRequestError(f"The field {self.name[:MAX_ECHO]!r} is not in utf-8.") from None
        else:
            filename = decoded(self.filename) or f"image {len(self.uploads)}"
            # As bytes, since Pillow would copy anything else, in each thread that decodes.
            self.uploads.append(Upload(filename, self.content_type, bytes(self.data)))
            self.data = bytearray()

    def end(self) -> tuple[dict[str, str], list[Upload]]:
        """Return all fields and files; raise MultipartError if the form's last boundary is missing."""
        self.parser.close()
        return self.fields, self.uploads


def decoded(latin: str) -> str:
    """Return a name that was read as latin-1, decoded as UTF-8 if it is UTF-8, as most clients send it."""
    try:
        return latin.encode("latin-1").decode()
    except UnicodeError:
        return latin


def check_field(fields: Mapping[str, str], name: str) -> None:
    """Refuse a field that is `images`, is repeated, or is one too many."""
    if name == FILES_FIELD:
        raise MalformedRequestError(f"'{FILES_FIELD}' holds text where a file belongs. {HOW_TO_SEND}")
    if name in fields:
        raise MalformedRequestError(f"The field {name[:MAX_ECHO]!r} was sent twice. Send it once.")
    if len(fields) == MAX_FIELDS:
        raise MalformedRequestError(f"The form has more than {MAX_FIELDS} fields. {HOW_TO_SEND}")

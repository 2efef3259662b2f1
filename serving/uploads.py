"""Reading multipart requests: the files under `images`, the fields beside them, and nothing else."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Generic, TypeVar

from multipart import MultipartError, MultipartSegment, PushMultipartParser
from pydantic import ValidationError
from starlette.requests import Request

from serving.errors import MalformedRequestError, TooLargeError, UnsupportedTypeError
from serving.schemas import Form

FILES_FIELD = "images"
MAX_FIELDS, MAX_FIELD_BYTES = 20, 1000
MAX_ECHO = 100  # characters of what was sent that an answer repeats
HOW_TO_SEND = (
    "Send multipart/form-data with one or more files named 'images', for example: curl -F images=@digit.png"
)

FormType = TypeVar("FormType", bound=Form)


@dataclass(frozen=True)
class Upload:
    """A file as it arrived."""

    filename: str
    content_type: str
    data: bytes


@dataclass(frozen=True)
class Body:
    """A multipart request as it arrived, and the boundary between its parts."""

    data: bytes
    boundary: str


@dataclass(frozen=True)
class Submission(Generic[FormType]):
    """A request's fields and files."""

    form: FormType
    uploads: list[Upload]


async def read_body(request: Request) -> Body:
    """Read a multipart request, without taking it apart.

    Raises:
        UnsupportedTypeError: The body is of another type.
        MalformedRequestError: There is no body, or no boundary between its parts.
    """
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    media_type = str(header["content-type"]).partition(";")[0].strip().lower()
    data = b"".join([chunk async for chunk in request.stream()])  # which the request would keep
    if not data:
        raise MalformedRequestError(f"The request is empty. {HOW_TO_SEND}")
    if media_type != "multipart/form-data":
        raise UnsupportedTypeError(f"The request's content type is {media_type or 'missing'}. {HOW_TO_SEND}")
    charset = str(header.get_param("charset", "utf-8"))
    if charset.lower() not in ("utf-8", "utf8"):
        raise MalformedRequestError(f"The form's charset is {charset[:MAX_ECHO]}. Send utf-8.")
    boundary = header.get_param("boundary")
    if not boundary:
        raise MalformedRequestError(f"The content type names no boundary. {HOW_TO_SEND}")
    return Body(data, str(boundary))


def parse_submission(body: Body, form_type: type[FormType], *, max_images: int) -> Submission[FormType]:
    """Take a multipart request apart.

    Args:
        body: The request.
        form_type: The fields that may stand beside the files.
        max_images: More files than this are refused.

    Raises:
        MalformedRequestError: The body is damaged, holds no file, or has a field that is unknown, repeated or
            out of range.
        TooLargeError: There are too many files.
    """
    fields, uploads = dict[str, str](), list[Upload]()
    try:
        for segment, data in segments(body, max_segments=max_images + MAX_FIELDS + 1):
            name = decoded(segment.name)
            if segment.filename is None:
                add_field(fields, name, data)
                continue
            if name != FILES_FIELD:
                raise MalformedRequestError(
                    f"A file was sent as {name[:MAX_ECHO]!r}. Send files as '{FILES_FIELD}'."
                )
            filename = decoded(segment.filename) or f"image {len(uploads)}"
            uploads.append(Upload(filename, segment.content_type or "", data))
            if len(uploads) > max_images:
                raise TooLargeError(f"The request has more than {max_images} files. Send them in several.")
    except MultipartError as error:
        raise MalformedRequestError(f"The form is damaged ({error.args[0]}). {HOW_TO_SEND}") from None
    if not uploads:
        raise MalformedRequestError(f"The request holds no image. {HOW_TO_SEND}")
    return Submission(validated(fields, form_type), uploads)


def segments(body: Body, *, max_segments: int) -> Iterator[tuple[MultipartSegment, bytes]]:
    """Give the parts of a form, each with its content.

    Raises:
        MultipartError: The form is damaged.
    """
    # Strict, or each header could be folded into thousands of lines, which take seconds to put together.
    options = {"max_segment_count": max_segments, "header_charset": "latin-1", "strict": True}
    with PushMultipartParser(body.boundary, **options) as parser:
        segment, data = None, b""
        for event in parser.parse(body.data):
            if isinstance(event, MultipartSegment):
                segment, data = event, b""
            elif event is not None:
                data = event  # in one piece, since the body is
            elif segment is not None:
                yield segment, data


def decoded(latin: str) -> str:
    """Return a name that was read as latin-1 in utf-8, as most clients send it, where it is that."""
    try:
        return latin.encode("latin-1").decode()
    except UnicodeError:
        return latin


def add_field(fields: dict[str, str], name: str, data: bytes) -> None:
    if name == FILES_FIELD:
        raise MalformedRequestError(f"'{FILES_FIELD}' holds text where a file belongs. {HOW_TO_SEND}")
    if name in fields:
        raise MalformedRequestError(f"The field {name[:MAX_ECHO]!r} was sent twice. Send it once.")
    if len(fields) == MAX_FIELDS:
        raise MalformedRequestError(f"The form has more than {MAX_FIELDS} fields. {HOW_TO_SEND}")
    if len(data) > MAX_FIELD_BYTES:
        raise MalformedRequestError(
            f"The field {name[:MAX_ECHO]!r} has {len(data):,} bytes. Send at most {MAX_FIELD_BYTES:,}."
        )
    try:
        fields[name] = data.decode()
    except UnicodeDecodeError:
        raise MalformedRequestError(f"The field {name[:MAX_ECHO]!r} is not in utf-8.") from None


def validated(fields: Mapping[str, str], form_type: type[FormType]) -> FormType:
    """Return fields as a form.

    Raises:
        MalformedRequestError: One is unknown or out of range.
    """
    try:
        return form_type.model_validate(fields)
    except ValidationError as error:
        raise MalformedRequestError(
            describe_invalid(error, form_type),
            errors=error.errors(include_url=False, include_context=False, include_input=False),
        ) from None


def describe_invalid(error: ValidationError, form_type: type[Form]) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join((FILES_FIELD, *form_type.model_fields))
        return f"There is no field {name[:MAX_ECHO]!r}. There are: {known}."
    return f"{name}: {first['msg']} (it was {str(first['input'])[:MAX_ECHO]!r})."

"""Reading multipart requests: the files under `images`, the fields beside them, and nothing else."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)
from pydantic import ValidationError
from starlette.requests import Request

from serving.errors import MalformedRequestError, TooLargeError, UnsupportedTypeError
from serving.schemas import Form

FILES_FIELD = "images"
MAX_FIELDS = 20
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
    """Read a multipart request, and leave it to a thread to take apart.

    Raises:
        UnsupportedTypeError: The body is of another type.
        MalformedRequestError: There is no body, or no boundary between its parts.
    """
    content_type = request.headers.get("content-type", "")
    media_type, parameters = parse_options_header(content_type)
    if media_type != "multipart/form-data":
        if not media_type and not await request.body():
            raise MalformedRequestError(f"The request is empty. {HOW_TO_SEND}")
        raise UnsupportedTypeError(f"The request's content type is {media_type or 'missing'}. {HOW_TO_SEND}")
    charset = parameters.get("charset", "utf-8")
    if charset.lower() not in ("utf-8", "utf8"):
        raise MalformedRequestError(f"The form's charset is {charset[:MAX_ECHO]}. Send utf-8.")
    if not parameters.get("boundary"):
        raise MalformedRequestError(f"The content type names no boundary. {HOW_TO_SEND}")
    return Body(await request.body(), parameters["boundary"])


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
        for segment, data in segments(body, max_segments=max_images + MAX_FIELDS):
            if segment.filename is None:
                add_field(fields, segment.name, data)
                continue
            if segment.name != FILES_FIELD:
                raise MalformedRequestError(
                    f"A file was sent as {segment.name[:MAX_ECHO]!r}. Send files as '{FILES_FIELD}'."
                )
            filename = segment.filename or f"image {len(uploads)}"
            uploads.append(Upload(filename, segment.content_type or "", data))
            if len(uploads) > max_images:
                raise TooLargeError(f"The request has more than {max_images} files. Send them in several.")
    except ParserLimitReached as error:
        raise TooLargeError(f"The form has too many parts, or too long a header ({error}).") from None
    except MultipartError as error:
        raise MalformedRequestError(f"The form is damaged ({error}). {HOW_TO_SEND}") from None
    if not uploads:
        raise MalformedRequestError(f"The request holds no image. {HOW_TO_SEND}")
    return Submission(validated(fields, form_type), uploads)


def segments(body: Body, *, max_segments: int) -> Iterator[tuple[MultipartSegment, bytes]]:
    """Give the parts of a form, each with its content.

    Raises:
        MultipartError: The form is damaged.
    """
    with PushMultipartParser(body.boundary, max_segment_count=max_segments) as parser:
        segment, data = None, b""
        for event in parser.parse(body.data):
            if isinstance(event, MultipartSegment):
                segment, data = event, b""
            elif event is not None:
                data = event  # in one piece, since the body is
            elif segment is not None:
                yield segment, data


def add_field(fields: dict[str, str], name: str, data: bytes) -> None:
    if name == FILES_FIELD:
        raise MalformedRequestError(f"'{FILES_FIELD}' holds text where a file belongs. {HOW_TO_SEND}")
    if name in fields:
        raise MalformedRequestError(f"The field {name[:MAX_ECHO]!r} was sent twice. Send it once.")
    if len(fields) == MAX_FIELDS:
        raise MalformedRequestError(f"The form has more than {MAX_FIELDS} fields. {HOW_TO_SEND}")
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

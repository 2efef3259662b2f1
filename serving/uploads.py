"""Reading multipart requests: the files under `images`, the fields beside them, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
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
class Submission(Generic[FormType]):
    """A request's fields and files."""

    form: FormType
    uploads: list[Upload]


async def read_submission(
    request: Request, form_type: type[FormType], *, max_images: int
) -> Submission[FormType]:
    """Read a multipart request.

    Args:
        request: The request, its body not read yet.
        form_type: The fields that may stand beside the files.
        max_images: More files than this are refused while they arrive.

    Raises:
        UnsupportedTypeError: The body is of another type.
        MalformedRequestError: The body is damaged, holds no file, or has a field that is unknown, repeated or
            out of range.
        TooLargeError: There are too many files.
    """
    await check_media_type(request)
    try:
        form = await request.form(max_files=max_images, max_fields=MAX_FIELDS)
    except HTTPException as error:
        if error.detail.startswith("Too many files"):
            raise TooLargeError(
                f"The request has more than {max_images} files. Send them in several."
            ) from None
        raise MalformedRequestError(f"{error.detail} {HOW_TO_SEND}") from None
    try:
        fields = parse_fields(form, form_type)
        files = [value for value in form.getlist(FILES_FIELD) if isinstance(value, UploadFile)]
        uploads = [
            Upload(file.filename or f"image {index}", file.content_type or "", await file.read())
            for index, file in enumerate(files)
        ]
    finally:
        await form.close()
    return Submission(fields, uploads)


async def check_media_type(request: Request) -> None:
    parsed, parameters = parse_options_header(request.headers.get("content-type", ""))
    media_type = parsed.decode("latin-1")
    if media_type == "multipart/form-data":
        charset = parameters.get(b"charset", b"utf-8").decode("latin-1")
        if charset.lower() not in ("utf-8", "utf8"):
            raise MalformedRequestError(f"The form's charset is {charset[:MAX_ECHO]}. Send utf-8.")
        return
    if not media_type and not await request.body():
        raise MalformedRequestError(f"The request is empty. {HOW_TO_SEND}")
    raise UnsupportedTypeError(f"The request's content type is {media_type or 'missing'}. {HOW_TO_SEND}")


def parse_fields(form: FormData, form_type: type[FormType]) -> FormType:
    """Check every part of the form, and return its fields."""
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != FILES_FIELD:
                raise MalformedRequestError(
                    f"A file was sent as {name[:MAX_ECHO]!r}. Send files as '{FILES_FIELD}'."
                )
        elif name == FILES_FIELD:
            raise MalformedRequestError(f"'{FILES_FIELD}' holds text where a file belongs. {HOW_TO_SEND}")
        elif name in fields:
            raise MalformedRequestError(f"The field {name[:MAX_ECHO]!r} was sent twice. Send it once.")
        else:
            fields[name] = value
    if FILES_FIELD not in form:
        raise MalformedRequestError(f"The request holds no image. {HOW_TO_SEND}")
    return validated(fields, form_type)


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

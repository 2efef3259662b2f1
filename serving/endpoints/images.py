"""The images of a request: the inputs of the model, and the errors of images that cannot be used."""

from collections.abc import Sequence

from serving.errors import UntestableBatchError
from serving.problems import document_of
from serving.schemas import ImageError, ProblemDocument
from vision.errors import Problem
from vision.images.read import Item
from vision.preprocessing.prepared import Prepared


def usable_inputs(items: Sequence[Item]) -> list[tuple[Item, Prepared]]:
    """Return the images that can be used, each with its model input.

    Raises:
        Problem: There is none. It is the problem of the first image, with a list of those of all images.
    """
    usable = [(item, item.content) for item in items if not isinstance(item.content, Problem)]
    if usable:
        return usable
    first = next(iter(problems_of(items)), None)
    if first is None:
        raise UntestableBatchError("The file holds no image.")
    detail = f"None of the {len(items)} images can be used. The first: " if len(items) > 1 else ""
    raise type(first)(
        detail + first.detail, image_errors=[error.model_dump() for error in image_errors(items)]
    )


def problems_of(items: Sequence[Item]) -> list[Problem]:
    return [item.content for item in items if isinstance(item.content, Problem)]


def image_errors(items: Sequence[Item]) -> list[ImageError]:
    return [
        ImageError(
            index=item.index,
            filename=item.filename,
            error=ProblemDocument.model_validate(document_of(item.content)),
        )
        for item in items
        if isinstance(item.content, Problem)
    ]

"""TorchServe's way to the service's models: the same pictures in, the same probabilities out.

`python -m train torchserve` puts this file into an archive, with those of this package that it imports. They
are few on purpose: beside TorchServe they need PyTorch, NumPy, SciPy and Pillow alone.
"""

import json
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vision import errors
from vision.errors import Problem, UnsupportedTypeError
from vision.images.decode import Pixels, decode_image
from vision.images.limits import ImageLimits
from vision.preprocessing.registry import preparation_of

logger = logging.getLogger(__name__)

TOP_K = 5
MEDIA_TYPE = "application/problem+json"


class InvalidTopKError(Problem):
    """The number of classes that a request asks for is none."""

    kind, title = "malformed-request", "The request is malformed"


# Those of the service, whose table needs more than an archive brings.
STATUSES: Mapping[type[Problem], HTTPStatus] = {
    InvalidTopKError: HTTPStatus.BAD_REQUEST,
    errors.TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.UndecodableImageError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NoDigitError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NoContentError: HTTPStatus.UNPROCESSABLE_ENTITY,
}
Row = Mapping[str, Any]  # what TorchServe makes of a request: the fields of its form, or its `body`


class TorchServeHandler:
    """One model in one worker, on the CPU as in the service.

    TorchServe makes it, calls `initialize` once, and `handle` for each batch of requests.
    """

    def initialize(self, context: Any) -> None:
        """Load the model from the folder that TorchServe has unpacked the archive to."""
        folder = Path(context.system_properties["model_dir"])
        with warnings.catch_warnings():
            # TorchScript is what this project ships: one file that runs without the code that made it.
            warnings.filterwarnings("ignore", message=r".*torch\.jit\.load.* is deprecated")
            self.script = torch.jit.load(str(folder / "model.pt"), map_location="cpu").eval()
        names = json.loads((folder / "index_to_name.json").read_text())
        self.labels = [names[str(index)] for index in range(len(names))]
        self.preparation = preparation_of(context.model_yaml_config["metadata"])

    def handle(self, rows: Sequence[Row], context: Any) -> list[dict[str, Any]]:
        """Return for each request its most probable classes, the best first, or the problem that it has.

        A request with a problem fails alone, whoever it shares a batch with.
        """
        requests = [self.read(row) for row in rows]
        usable = [request for request in requests if not isinstance(request, Problem)]
        probabilities = iter(self.predict([pixels for pixels, _ in usable]))
        answers = list[dict[str, Any]]()
        for index, request in enumerate(requests):
            if isinstance(request, Problem):
                status = STATUSES.get(type(request), HTTPStatus.INTERNAL_SERVER_ERROR)
                context.set_response_status(code=int(status), phrase=request.title, idx=index)
                context.set_response_content_type(index, MEDIA_TYPE)
                document = {
                    "type": f"urn:driftbento:problem:{request.kind}",
                    "title": request.title,
                    "status": int(status),
                    "detail": request.detail,
                }
                answers.append(document)
            else:
                answers.append(self.best_classes(next(probabilities), request[1]))
        return answers

    def read(self, row: Row) -> tuple[Pixels, int] | Problem:
        """Return the picture of a request as the model takes it, and how many classes are asked for."""
        try:
            top_k = read_top_k(row.get("top_k", TOP_K))
            data = row.get("data", row.get("body"))
            if not isinstance(data, bytes | bytearray):
                raise UnsupportedTypeError("Send the bytes of an image: as the body, or as the field `data`.")
            picture = decode_image(bytes(data), ImageLimits(), downscale=self.preparation.downscale)
            return self.preparation.prepare(picture).pixels, top_k
        except Problem as problem:
            return problem
        except Exception:  # whatever it is, it is this request's alone
            logger.exception("A request failed")
            return Problem(
                "The request could not be answered because of a defect. The log holds the details."
            )

    @torch.inference_mode()
    def predict(self, inputs: Sequence[Pixels]) -> list[list[float]]:
        """Return the softmax probabilities of each input, none for none."""
        if not inputs:
            return []
        logits, _ = self.script(torch.from_numpy(np.stack(inputs)))
        probabilities: list[list[float]] = logits.softmax(dim=1).tolist()
        return probabilities

    def best_classes(self, probabilities: Sequence[float], top_k: int) -> dict[str, float]:
        ranked = sorted(zip(self.labels, probabilities, strict=True), key=lambda named: -named[1])
        return dict(ranked[:top_k])


def read_top_k(value: Any) -> int:
    """Return the number of classes that a request asks for.

    Raises:
        InvalidTopKError: It is none.
    """
    text = bytes(value).decode(errors="replace") if isinstance(value, bytes | bytearray) else str(value)
    if not re.fullmatch("[1-9][0-9]{0,5}", text):
        raise InvalidTopKError(f"top_k is {text[:20]!r}. Send a whole number from 1 on.")
    return int(text)

"""A TorchServe handler for the service's models: the same images in, the same probabilities out.

`python -m train torchserve` puts this file and all of this project that it imports into an archive. That is
little on purpose: beside TorchServe it needs PyTorch, NumPy, SciPy and Pillow alone.
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

from deploy.torchserve.statuses import STATUSES, InvalidTopKError
from vision.errors import Problem, UnsupportedTypeError
from vision.images.decode import Pixels, decode_image
from vision.images.limits import ImageLimits
from vision.preprocessing.registry import preparation_of

logger = logging.getLogger(__name__)

TOP_K = 5
MEDIA_TYPE = "application/problem+json"
Row = Mapping[str, Any]  # a request as TorchServe gives it: the fields of its form, or its `body`


class TorchServeHandler:
    """One model in one worker, on the CPU as in the service.

    TorchServe makes the handler, calls `initialize` once, and `handle` for each group of requests.
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
        """Return for each request its most probable classes, the best first, or its problem document.

        A request with a problem fails alone; the others of its group are answered.
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
        """Return the model input and the top_k of a request, or its problem."""
        try:
            top_k = read_top_k(row.get("top_k", TOP_K))
            data = row.get("data", row.get("body"))
            if not isinstance(data, bytes | bytearray):
                raise UnsupportedTypeError("Send the bytes of an image: as the body, or as the field `data`.")
            picture = decode_image(bytes(data), ImageLimits(), downscale=self.preparation.downscale)
            return self.preparation.prepare(picture).pixels, top_k
        except Problem as problem:
            return problem
        except Exception:  # the other requests are to be answered
            logger.exception("A request failed")
            return Problem(
                "The request could not be answered because of a defect. The log holds the details."
            )

    @torch.inference_mode()
    def predict(self, inputs: Sequence[Pixels]) -> list[list[float]]:
        """Return the softmax probabilities of each input, shape (N, K)."""
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
        InvalidTopKError: It is not a whole number from 1 on.
    """
    text = bytes(value).decode(errors="replace") if isinstance(value, bytes | bytearray) else str(value)
    if not re.fullmatch("[1-9][0-9]{0,5}", text):
        raise InvalidTopKError(f"top_k is {text[:20]!r}. Send a whole number from 1 on.")
    return int(text)

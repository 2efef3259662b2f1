"""TorchServe's handler of a model, which `bench.serving` puts into the model's archive.

TorchServe calls it with a batch of requests. Each holds the bytes of one image.
"""

from pathlib import Path

import torch
from ts.torch_handler.base_handler import BaseHandler

from bench.peers.model import PlainModel


class Handler(BaseHandler):
    """TorchServe's interface to the model: decodes and classifies a batch of requests."""

    def initialize(self, context) -> None:
        folder = Path(context.system_properties["model_dir"])
        preparation = (folder / "preparation").read_text()
        self.model = PlainModel(folder, preparation)
        self.initialized = True

    def handle(self, data, context) -> list[list[dict]]:  # noqa: ARG002 - TorchServe passes it
        images = [self.model.decode(bytes(request.get("data") or request["body"])) for request in data]
        return self.model.classify(torch.stack(images))

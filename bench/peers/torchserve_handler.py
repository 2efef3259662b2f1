"""The handler by which TorchServe serves a model, put into its archive by `bench.serving`.

TorchServe calls it with all the requests of a batch. Each has the bytes of one image.
"""

from pathlib import Path

import torch
from ts.torch_handler.base_handler import BaseHandler

from bench.peers.model import PlainModel


class Handler(BaseHandler):
    """A worker that decodes and classifies what TorchServe hands it."""

    def initialize(self, context) -> None:
        folder = Path(context.system_properties["model_dir"])
        preparation = (folder / "preparation").read_text()
        self.model = PlainModel(folder, preparation)
        self.initialized = True

    def handle(self, data, context) -> list[list[dict]]:  # noqa: ARG002 - TorchServe passes it
        images = [self.model.decode(bytes(request.get("data") or request["body"])) for request in data]
        return self.model.classify(torch.stack(images))

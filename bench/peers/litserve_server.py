"""A LitServe server of a model, run by `bench.serving` in the environment of the peers."""

import argparse
from pathlib import Path

import litserve
import torch
from torch import Tensor

from bench.peers.model import PlainModel

MAX_BATCH_SIZE = 8
BATCH_TIMEOUT_SECONDS = 0.01


class Classify(litserve.LitAPI):
    """LitServe's interface to the model: decodes each request, and classifies batches of them."""

    def __init__(self, folder: Path, preparation: str, **options) -> None:
        super().__init__(**options)
        self.folder, self.preparation = folder, preparation

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe passes it
        torch.set_num_threads(1)  # there is a worker for every core
        self.model = PlainModel(self.folder, self.preparation)

    def decode_request(self, request) -> Tensor:
        return self.model.decode(request["image"].file.read())

    def batch(self, inputs: list[Tensor]) -> Tensor:
        return torch.stack(inputs)

    def predict(self, images: Tensor) -> list[list[dict]]:
        return self.model.classify(images)

    def unbatch(self, output: list[list[dict]]) -> list[list[dict]]:
        return output

    def encode_response(self, output: list[dict]) -> list[dict]:
        return output


def main() -> None:
    options = parser().parse_args()
    api = Classify(
        options.folder,
        options.preparation,
        max_batch_size=MAX_BATCH_SIZE,
        batch_timeout=BATCH_TIMEOUT_SECONDS,
        api_path="/classify",
    )
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=options.workers, timeout=120)
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m bench.peers.litserve_server", description=__doc__)
    options.add_argument("folder", type=Path, help="of the model")
    options.add_argument("--preparation", required=True, help="digits or photograph")
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--workers", type=int, required=True, help="processes that classify")
    return options


if __name__ == "__main__":
    main()

"""The model that every peer serves: the store's TorchScript, loaded in the usual way.

Nothing of this project is imported here, since a peer has to do the same work by itself.
"""

import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

TOP = 5


class PlainModel:
    """A model that decodes and classifies images."""

    def __init__(self, folder: Path, preparation: str) -> None:
        self.script = torch.jit.load(str(folder / "model.pt")).eval()
        self.labels = json.loads((folder / "labels.json").read_text())
        self.prepare = {"digits": digit, "photograph": photograph}[preparation]

    def decode(self, data: bytes) -> Tensor:
        """Return the pixels of an image file, shape (C, H, W), uint8."""
        return self.prepare(Image.open(io.BytesIO(data)))

    @torch.inference_mode()
    def classify(self, images: Tensor) -> list[list[dict]]:
        """Return the five best classes of each image, shape (N, C, H, W), with their probabilities."""
        logits, _ = self.script(images)
        probabilities, classes = logits.softmax(dim=1).topk(TOP)
        return [
            [{"label": self.labels[index], "probability": value} for value, index in zip(*row, strict=True)]
            for row in zip(probabilities.tolist(), classes.tolist(), strict=True)
        ]


def digit(image: Image.Image) -> Tensor:
    """Return the pixels of a digit of 28×28, shape (1, 28, 28), uint8."""
    return torch.from_numpy(np.array(image.convert("L")))[None]


def photograph(image: Image.Image) -> Tensor:
    """Return the middle 224×224 pixels of a photograph, as torchvision's weights for ImageNet take it."""
    image = image.convert("RGB")
    scale = 256 / min(image.size)
    width, height = (round(length * scale) for length in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - 224) // 2, (height - 224) // 2
    return torch.from_numpy(np.array(image.crop((left, top, left + 224, top + 224)))).permute(2, 0, 1)

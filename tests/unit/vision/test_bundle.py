"""The files of a stored model: what is written is read again."""

import torch
from torch import Tensor, nn

from vision.models import bundle


class Brightness(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = images.float().mean(dim=[1, 2, 3])
        return torch.stack([127 - mean, mean - 127], dim=1), mean.unsqueeze(1)


def test_a_model_that_was_written_is_read_again(tmp_path):
    images = torch.full((2, 1, 28, 28), 200, dtype=torch.uint8)

    logits, features = bundle.write(tmp_path, Brightness(), ["dark", "light"], images)
    metadata = {"preprocessing": "digits"} | bundle.checksums(tmp_path)
    stored = bundle.read(tmp_path, "brightness:1", metadata, precision="float32")

    assert metadata.keys() == {"preprocessing", "weights_sha256", "golden_sha256", "labels_sha256"}
    assert (stored.labels, stored.reference) == (["dark", "light"], None)
    torch.testing.assert_close(stored.engine(images), (logits, features))

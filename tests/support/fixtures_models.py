"""Fixtures: models beside the one that is really trained."""

import copy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import skimage.data
import sklearn.datasets
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from torchvision.models import get_model_weights
from torchvision.transforms import v2

from drift import Reference
from tests.support.homes import own_home
from tests.support.processes import environment, run
from train.resnet import PhotographClassifier, load_network
from vision.models.classifier import stacked
from vision.preprocessing.imagenet import crop_photograph


@pytest.fixture(scope="session")
def photographs() -> list[Image.Image]:
    """The colour photographs that scikit-image and scikit-learn ship, of all sizes and contents."""
    named = (
        "astronaut",
        "chelsea",
        "coffee",
        "hubble_deep_field",
        "immunohistochemistry",
        "retina",
        "rocket",
    )
    shipped = [getattr(skimage.data, name)() for name in named] + sklearn.datasets.load_sample_images().images
    return [Image.fromarray(image) for image in shipped]


@pytest.fixture(scope="session")
def crops(photographs: list[Image.Image]) -> Callable[[int, int], list[Image.Image]]:
    """Return a function that cuts some pieces out of the photographs in turn, at random from a seed."""

    def cut(count: int, seed: int) -> list[Image.Image]:
        torch.manual_seed(seed)
        augment = v2.Compose(
            [
                v2.RandomResizedCrop((240, 320), scale=(0.1, 1)),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.3, 0.3, 0.3),
            ]
        )
        return [augment(photographs[index % len(photographs)]) for index in range(count)]

    return cut


@pytest.fixture(scope="session")
def resnet_weights(
    crops: Callable[[int, int], list[Image.Image]], photographs: list[Image.Image], made_once
) -> Path:
    """A state dict of ResNet-18 that tells the photographs apart: its first classes stand for them, in order.

    Its weights are random but for those of the last layer, which are fitted.
    """

    def fit(folder: Path) -> None:
        network, _ = load_network("resnet18", "random", seed=0)
        transform = get_model_weights("resnet18").DEFAULT.transforms()
        model = PhotographClassifier(copy.deepcopy(network), mean=transform.mean, std=transform.std)
        copies = 30
        pictures = crops(copies * len(photographs), 1)
        images = [crop_photograph(image, resize_size=256, crop_size=224) for image in pictures]
        with torch.inference_mode():
            features = torch.cat([model(part)[1] for part in stacked(images).split(32)])
        fitted = Ridge(alpha=1).fit(features, 10 * torch.eye(len(photographs)).repeat(copies, 1))
        with torch.no_grad():
            network.fc.weight[: len(photographs)] = torch.from_numpy(fitted.coef_)
            network.fc.bias[: len(photographs)] = torch.from_numpy(fitted.intercept_)
        torch.save(network.state_dict(), folder / "resnet18.pth")

    return made_once("weights", fit) / "resnet18.pth"


@pytest.fixture(scope="session")
def resnet_home(
    resnet_weights: Path, crops: Callable[[int, int], list[Image.Image]], tmp_path_factory, made_once
) -> Path:
    """A BENTOML_HOME that holds a ResNet with a drift reference, and nothing else."""

    def train(home: Path) -> None:
        folder = tmp_path_factory.mktemp("reference")
        for index, image in enumerate(crops(160, seed=2)):
            image.save(folder / f"{index}.png")
        options = ["--weights", str(resnet_weights), "--reference", str(folder)]
        run([sys.executable, "-m", "train", "resnet", *options], env=environment(home))

    return own_home(made_once("resnet", train), tmp_path_factory)


@pytest.fixture
def fake_model_folder(tmp_path: Path) -> Path:
    """The files of a tiny model that keeps the contract of the store: two classes, by mean brightness."""
    folder = tmp_path / "fake"
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, and shipped here
        script = torch.jit.script(BrightnessClassifier())
        torch.jit.save(script, str(folder / "model.pt"))
    images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 28, 28).contiguous() * 100
    logits, features = script(images)
    save_file({"images": images, "logits": logits, "features": features}, folder / "golden.safetensors")
    (folder / "labels.json").write_text('["dark", "light"]')
    samples = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    Reference.fit(samples, samples.softmax(1), lengthscale_sample=samples + 1).save(
        folder / "reference.safetensors"
    )
    return folder


class BrightnessClassifier(nn.Module):
    """A model small enough to be understood at a glance."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = images.float().mean(dim=[1, 2, 3])
        return torch.stack([127 - mean, mean - 127], dim=1), torch.stack([mean, -mean], dim=1)

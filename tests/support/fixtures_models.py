"""Fixtures: models that were trained before the tests, and one so small that it needs no trained."""

import hashlib
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from drift import Reference
from tests.support import trained
from tests.support.homes import model_in, own_home
from tests.support.trained import trained_folder
from vision.models.classifier import Classifier, load_classifier


@pytest.fixture(scope="session")
def briefly_trained(request: pytest.FixtureRequest) -> Path:
    """A BENTOML_HOME with a digit classifier of a few epochs, which no test may change."""
    return trained_folder("briefly_trained", request.config.cache)


@pytest.fixture(scope="session")
def store(briefly_trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BENTOML_HOME that holds one digit classifier, as good as most tests need."""
    return own_home(briefly_trained, tmp_path_factory)


@pytest.fixture(scope="session")
def fully_trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BENTOML_HOME that holds one digit classifier, trained by the command line as it is for use."""
    return own_home(trained_folder("fully_trained", request.config.cache), tmp_path_factory)


@pytest.fixture(scope="session")
def model_folder(store: Path) -> Path:
    """The files of the briefly trained model."""
    return model_in(store, "mnist")


@pytest.fixture(scope="session")
def classifier(model_folder: Path) -> Classifier:
    """The briefly trained model, loaded as the service loads it."""
    return load_digits(model_folder)


@pytest.fixture(scope="session")
def trained_classifier(fully_trained: Path) -> Classifier:
    """The fully trained model, loaded as the service loads it."""
    return load_digits(model_in(fully_trained, "mnist"))


@pytest.fixture(scope="session")
def copy_store() -> Callable[[Path, Path], Path]:
    """Return a function that copies a BENTOML_HOME, so that a test may change it."""
    return lambda source, target: Path(shutil.copytree(source, target))


@pytest.fixture(scope="session")
def spoil_golden() -> Callable[[Path], None]:
    """Return a function that makes a stored model's golden answers other than what it gives."""

    def spoil(home: Path) -> None:
        (path,) = home.glob("models/mnist/*/golden.safetensors")
        golden = load_file(path)
        save_file(golden | {"logits": golden["logits"] + 1}, path)
        facts = path.with_name("model.yaml")
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        facts.write_text(re.sub(r"(golden_sha256: )\w+", rf"\g<1>{checksum}", facts.read_text()))

    return spoil


@pytest.fixture(scope="session")
def photographs() -> list[Image.Image]:
    """The colour photographs that scikit-image and scikit-learn ship, of all sizes and contents."""
    return trained.photographs()


@pytest.fixture(scope="session")
def crops(photographs: list[Image.Image]) -> Callable[[int, int], list[Image.Image]]:
    """Return a function that cuts some pieces out of the photographs in turn, at random from a seed."""
    return lambda count, seed: trained.crops(photographs, count, seed)


@pytest.fixture(scope="session")
def fitted_resnet(request: pytest.FixtureRequest) -> Path:
    """A folder with the weights of a ResNet that tells the photographs apart."""
    return trained_folder("fitted_resnet", request.config.cache)


@pytest.fixture(scope="session")
def resnet_weights(fitted_resnet: Path) -> Path:
    """A state dict of ResNet-18 whose first classes stand for the photographs, in order."""
    return fitted_resnet / "resnet18.pth"


@pytest.fixture(scope="session")
def published_resnet(request: pytest.FixtureRequest) -> Path:
    """A BENTOML_HOME with that ResNet, which no test may change."""
    return trained_folder("published_resnet", request.config.cache)


@pytest.fixture(scope="session")
def resnet_home(published_resnet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BENTOML_HOME that holds a ResNet with a drift reference, and nothing else."""
    return own_home(published_resnet, tmp_path_factory)


def load_digits(folder: Path) -> Classifier:
    return load_classifier(folder, "mnist", folder.name, {"preprocessing": "digits"})


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

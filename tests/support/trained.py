"""What the tests have trained before any of them runs, so that no test's time includes a training.

It is kept between runs for as long as the code that makes it stays the same.
"""

import copy
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import skimage.data
import sklearn.datasets
import torch
from filelock import FileLock
from PIL import Image
from sklearn.linear_model import Ridge
from torchvision.models import get_model_weights
from torchvision.transforms import v2

from tests.support.processes import ROOT, environment, run
from train.resnet import PhotographClassifier, load_network
from vision.models.classifier import stacked
from vision.preprocessing.imagenet import crop_photograph

PYTHON = [sys.executable, "-m"]
SOURCES = (
    *(
        "train/*.py",
        "drift/**/*.py",
        "vision/corruptions.py",
        "vision/preprocessing/*.py",
        "vision/models/*.py",
    ),
    *("tests/support/trained.py", "tests/support/brief_training.py", "requirements-dev.txt"),
)


def photographs() -> list[Image.Image]:
    """Return the colour photographs that scikit-image and scikit-learn ship, of all sizes and contents."""
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


def crops(whole: Sequence[Image.Image], count: int, seed: int) -> list[Image.Image]:
    """Return some pieces of pictures in turn, cut out at random from a seed."""
    torch.manual_seed(seed)
    augment = v2.Compose(
        [
            v2.RandomResizedCrop((240, 320), scale=(0.1, 1)),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.3, 0.3, 0.3),
        ]
    )
    return [augment(whole[index % len(whole)]) for index in range(count)]


def train_briefly(home: Path, _: pytest.Cache) -> None:
    """Put a digit classifier into a store: of a few epochs, with a certificate of few batches."""
    run([*PYTHON, "tests.support.brief_training"], env=environment(home))


def train_fully(home: Path, _: pytest.Cache) -> None:
    """Put a digit classifier into a store, as the command line trains one."""
    run([*PYTHON, "train", "mnist", "--dataset", "embedded"], env=environment(home))


def fit_resnet(folder: Path, _: pytest.Cache) -> None:
    """Write a state dict of ResNet-18 whose first classes stand for the photographs, in order.

    Its weights are random but for those of the last layer, which are fitted.
    """
    whole = photographs()
    network, _ = load_network("resnet18", "random", seed=0)
    transform = get_model_weights("resnet18").DEFAULT.transforms()
    model = PhotographClassifier(copy.deepcopy(network), mean=transform.mean, std=transform.std)
    copies = 30
    pictures = crops(whole, copies * len(whole), seed=1)
    images = [crop_photograph(image, resize_size=256, crop_size=224) for image in pictures]
    with torch.inference_mode():
        features = torch.cat([model(part)[1] for part in stacked(images).split(32)])
    fitted = Ridge(alpha=1).fit(features, 10 * torch.eye(len(whole)).repeat(copies, 1))
    with torch.no_grad():
        network.fc.weight[: len(whole)] = torch.from_numpy(fitted.coef_)
        network.fc.bias[: len(whole)] = torch.from_numpy(fitted.intercept_)
    torch.save(network.state_dict(), folder / "resnet18.pth")


def publish_resnet(home: Path, cache: pytest.Cache) -> None:
    """Put that ResNet, with a drift reference, into a store."""
    weights = trained_folder("fitted_resnet", cache) / "resnet18.pth"
    with tempfile.TemporaryDirectory() as folder:
        for index, image in enumerate(crops(photographs(), 160, seed=2)):
            image.save(Path(folder) / f"{index}.png")
        options = ["--weights", str(weights), "--reference", folder]
        run([*PYTHON, "train", "resnet", *options], env=environment(home))


MAKERS: dict[str, Callable[[Path, pytest.Cache], None]] = {
    "briefly_trained": train_briefly,
    "fully_trained": train_fully,
    "fitted_resnet": fit_resnet,
    "published_resnet": publish_resnet,
}


def trained_folder(name: str, cache: pytest.Cache) -> Path:
    """Return the folder of one of MAKERS, filled by the first of the tests' processes that asks for it."""
    kept = cache.mkdir("trained")
    folder = kept / f"{name}-{made_by()}"
    with FileLock(kept / f"{name}.lock"):
        if not folder.exists():
            for old in kept.glob(f"{name}-*"):
                shutil.rmtree(old)
            with beside(folder) as unfinished:
                MAKERS[name](unfinished, cache)
    return folder


@cache
def made_by() -> str:
    """Return a hash of the code that trains, as it is when the tests begin."""
    sources = sorted(path for pattern in SOURCES for path in ROOT.glob(pattern))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which then takes the place of another."""
    unfinished = folder.with_name(f".{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    yield unfinished
    unfinished.rename(folder)

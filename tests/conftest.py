"""Fixtures: real digits, a store with a model really trained on them, the service in a process of its own."""

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

# Read when bentoml is imported, which is why it comes before everything else.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")

import httpx
import hypothesis
import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.homes import beside, own_home
from tests.support.processes import ROOT, environment, free_port, run, serving
from train.data import Digits, MnistSplits, load_mnist
from vision.models.classifier import Classifier, load_classifier

FASHION = ROOT.parent / "shared" / "data" / "fashion-mnist-900.npz"

pytest_plugins = [
    "tests.support.production",
    "tests.support.fixtures_models",
    "tests.support.fixtures_benchmarks",
]

# The same examples in every run; and no deadline, since a busy machine is no failure.
hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None)
hypothesis.settings.load_profile("seeded")

Serve = Callable[..., AbstractContextManager[httpx.Client]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Call slow what needs a trained model or measures; and begin with the longest test of all."""
    for item in items:
        needs_model = {"store", "resnet_weights"} & set(getattr(item, "fixturenames", ()))
        if needs_model or item.path.parent.name == "bench":
            item.add_marker("slow")
    items.sort(key=lambda item: item.path.name != "test_readme.py")


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Keep tests and the servers that they start from taking each other's cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def splits() -> MnistSplits:
    """The digits that need no download."""
    return load_mnist("embedded", Path("data"))


@pytest.fixture(scope="session")
def held_out(splits: MnistSplits) -> Digits:
    """Digits that neither the training nor the reference has seen."""
    return splits.test


@pytest.fixture(scope="session")
def fashion() -> np.ndarray:
    """128 images of clothes, (128, 28, 28) uint8."""
    if not FASHION.exists():
        pytest.skip(f"needs Fashion-MNIST in {FASHION}")
    with np.load(FASHION) as file:
        images = file["images"]
    return images[np.random.default_rng(0).permutation(len(images))[:128]]


@pytest.fixture(scope="session")
def store(request: pytest.FixtureRequest, tmp_path_factory) -> Path:
    """A BENTOML_HOME that holds one digit classifier, trained by the command line on the embedded digits.

    It is kept between runs, for as long as the code that made it stays the same.
    """
    made_by = hashlib.sha256()
    for source in sorted(
        [
            *ROOT.glob("train/*.py"),
            *ROOT.glob("drift/**/*.py"),
            *ROOT.glob("vision/preprocessing/*.py"),
            ROOT / "vision" / "corruptions.py",
            ROOT / "requirements-dev.txt",
        ]
    ):
        made_by.update(source.read_bytes())
    kept = request.config.cache.mkdir("stores")
    home = kept / made_by.hexdigest()[:16]
    with FileLock(kept.with_suffix(".lock")):
        if not home.exists():
            for old in kept.iterdir():
                shutil.rmtree(old)
            with beside(home) as folder:
                run(
                    [sys.executable, "-m", "train", "mnist", "--dataset", "embedded"], env=environment(folder)
                )
    return own_home(home, tmp_path_factory)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return a function that has a folder filled by the first of the tests' processes that needs it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder = shared / name
        with FileLock(shared / f"{name}.lock"):
            if not folder.exists():
                with beside(folder) as unfinished:
                    fill(unfinished)
        return folder

    return make


@pytest.fixture(scope="session")
def model_folder(store: Path) -> Path:
    """The trained model's files."""
    models = store / "models" / "mnist"
    return models / (models / "latest").read_text()


@pytest.fixture(scope="session")
def classifier(model_folder: Path) -> Classifier:
    """The trained model, loaded as the service loads it."""
    return load_classifier(model_folder, "mnist", model_folder.name, {"preprocessing": "digits"})


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Return a context manager that runs `bentoml serve` and gives a client of it."""
    return serving


@pytest.fixture(scope="module")
def port() -> int:
    """A port of this machine that nothing listens on."""
    return free_port()


@pytest.fixture(scope="session")
def service(store: Path, serve: Serve) -> Iterator[httpx.Client]:
    """A client of the service, running as a process of its own with the trained model."""
    with serve(store) as client:
        yield client


@pytest.fixture(scope="session")
def run_command() -> Callable[[list[str], Path], str]:
    """Return a function that runs a command with a BENTOML_HOME of its own."""
    return lambda command, home: run(command, env=environment(home))


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
def locked_versions() -> dict[str, str]:
    """The version of every package of the image's lock."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))


@pytest.fixture(scope="session")
def png() -> Callable[[np.ndarray | Tensor], bytes]:
    """Return a function that makes a PNG file of an image."""

    def encode(pixels: np.ndarray | Tensor) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(np.asarray(pixels)).save(stream, "PNG")
        return stream.getvalue()

    return encode


@pytest.fixture(scope="session")
def as_files(png: Callable[[np.ndarray | Tensor], bytes]) -> Callable[[Sequence], list]:
    """Return a function that makes images the files of a request."""

    def encode(images: Sequence) -> list:
        return [
            ("images", (f"{index:04d}.png", png(image), "image/png")) for index, image in enumerate(images)
        ]

    return encode


@pytest.fixture
def push(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs scripts/push, and checks that it leaves no file behind."""

    def run_push(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        beside = tmp_path / "temporary"
        beside.mkdir(exist_ok=True)
        finished = subprocess.run(
            [str(ROOT / "scripts" / "push"), *arguments],
            env=environment | {"TMPDIR": str(beside)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert list(beside.iterdir()) == []
        return finished

    return run_push

"""Samples for `python -m drift`, and ways to run it."""

import gzip
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from cli.drift import main
from vision.corruptions import gaussian_blur

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def images(tmp_path_factory, held_out, png) -> Path:
    """A folder with 64 digits in each of the forms that are read."""
    folder = tmp_path_factory.mktemp("images")
    digits = held_out.images[:64].numpy()
    (folder / "folder" / "deep").mkdir(parents=True)
    for index, digit in enumerate(digits):
        (folder / "folder" / "deep" / f"{index:02d}.png").write_bytes(png(digit))
    np.save(folder / "digits.npy", digits)
    np.savez_compressed(folder / "digits.npz", images=digits, labels=held_out.labels[:64])
    with zipfile.ZipFile(folder / "digits.zip", "w") as archive:
        for path in sorted((folder / "folder" / "deep").iterdir()):
            archive.write(path, path.name)
    idx = struct.pack(">BBBBiii", 0, 0, 8, 3, *digits.shape) + digits.tobytes()
    (folder / "digits-idx3-ubyte").write_bytes(idx)
    (folder / "digits-idx3-ubyte.gz").write_bytes(gzip.compress(idx))
    np.save(folder / "blurred.npy", gaussian_blur(held_out.images[:64].unsqueeze(1), 2).squeeze(1).numpy())
    return folder


@pytest.fixture
def drift(store):
    """Return a function that runs the command line in a process of its own, with the trained model."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "drift", *map(str, arguments)]
        environment = os.environ | {"BENTOML_HOME": str(store)}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def in_process(store):
    """Let what is called here find the trained model's store."""
    BentoMLContainer.model_store.set(ModelStore(store / "models"))
    yield
    BentoMLContainer.model_store.reset()


@pytest.fixture
def features(tmp_path) -> Path:
    """A folder with features: held-out ones, a batch of the same, and one that has drifted."""
    generator = np.random.default_rng(0)
    for name, size, shift in (("held_out", 600, 0), ("same", 50, 0), ("drifted", 50, 1)):
        np.save(tmp_path / f"{name}.npy", generator.normal(shift, size=(size, 4)))
    logits = generator.normal(size=(600, 10))
    np.savez(tmp_path / "logits.npz", features=np.load(tmp_path / "held_out.npy"), probabilities=logits)
    np.save(tmp_path / "black.npy", np.zeros((600, 4)))
    np.save(tmp_path / "nan.npy", np.full((100, 4), np.nan))
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    return tmp_path


@pytest.fixture
def fit_features(features) -> Callable[..., Path]:
    """Return a function that fits a reference on the held-out features, and returns its file."""
    out = features / "reference.safetensors"
    quick = ["--n-permutations", "99", "--max-batch", "60", "--batches", "50", "--kernel", "gaussian"]

    def run(*options: str) -> Path:
        assert main(["fit", str(features / "held_out.npy"), "--out", str(out), *quick, *options]) == 0
        return out

    return run

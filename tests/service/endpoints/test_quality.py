"""How good the model is that training makes for use, as the users of a real service meet it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from train.data import full_mnist

DATA = Path(os.environ.get("MNIST_DATA", "data"))
FULL_SET = DATA / "MNIST" / "raw" / "train-images-idx3-ubyte"
pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def client(fully_trained, serve) -> Iterator[httpx.Client]:
    """A client of a service with the digit classifier as the command line trains it."""
    with serve(fully_trained) as client:
        yield client


def accuracy(client: httpx.Client, as_files, digits) -> float:
    """The share of digits that the service gets right when they are posted as PNG files."""
    right = 0
    for start in range(0, len(digits), 500):
        labels = digits.labels[start : start + 500].tolist()
        answer = client.post("/classify", files=as_files(digits.images[start : start + 500]))
        assert answer.status_code == 200, answer.text
        found = [int(result["label"]) for result in answer.json()["results"]]
        right += sum(label == expected for label, expected in zip(found, labels, strict=True))
    return right / len(digits)


def test_held_out_digits_are_classified(client, as_files, splits):
    assert accuracy(client, as_files, splits.held_out) >= 0.97


@pytest.mark.timeout(5400)
@pytest.mark.skipif(not FULL_SET.exists(), reason=f"needs MNIST's four files in {FULL_SET.parent}")
def test_trained_on_the_full_set_hardly_a_digit_is_missed(tmp_path, serve, as_files, run_command):
    run_command([sys.executable, "-m", "train", "mnist", "--dataset", "full", "--data", str(DATA)], tmp_path)

    with serve(tmp_path) as client:
        assert accuracy(client, as_files, full_mnist(DATA).held_out) >= 0.992


def test_models_shows_the_accuracy_on_held_out_digits(client):
    (model,) = client.get("/models").json()["models"]

    assert model["metadata"]["accuracy"] >= 0.97


def test_models_shows_how_often_the_reference_raises_an_alarm(client):
    (model,) = client.get("/models").json()["models"]

    certificate = model["drift_reference"]["certificate"]
    assert certificate["n_batches"] >= 1000
    assert {(one["m"], one["alpha"]) for one in certificate["false_alarms"]} == {
        (m, alpha) for m in (16, 64, 256) for alpha in (0.05, 0.01)
    }
    for one in certificate["false_alarms"]:
        assert one["alarms"]["low"] <= one["alarms"]["rate"] <= one["alarms"]["high"]
        assert one["alarms"]["rate"] < 2.5 * one["alpha"]
    small, medium, large = (blur["sigma"] for blur in certificate["blurs"])
    assert 2 > small >= medium >= large > 0

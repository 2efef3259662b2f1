"""The ResNet behind the real service: what it sees, what is drift, and how it gets on with the digits."""

import io
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision.models import ResNet18_Weights

from train.resnet import load_network

PROBLEM = "application/problem+json"
UNSEEN = 4  # the seed of pictures that neither the weights nor the reference have seen


def jpegs(images: Sequence[Image.Image]) -> list:
    files = []
    for index, image in enumerate(images):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=90)
        files.append(("images", (f"{index}.jpg", stream.getvalue(), "image/jpeg")))
    return files


@pytest.fixture(scope="module")
def home(store, resnet_home, tmp_path_factory) -> Path:
    """A BENTOML_HOME that holds both models."""
    both = tmp_path_factory.mktemp("both") / "home"
    shutil.copytree(store, both)
    shutil.copytree(resnet_home / "models" / "resnet", both / "models" / "resnet")
    return both


@pytest.fixture(scope="module")
def client(home, serve) -> Iterator[httpx.Client]:
    with serve(home) as serving:
        yield serving


def test_photographs_are_told_apart(client, photographs):
    """The weights of the fixture call them by the first classes of ImageNet, in order."""
    response = client.post(
        "/classify", files=jpegs(photographs), data={"model": "resnet", "top_k": "5"}
    ).raise_for_status()

    answer = response.json()
    assert answer["trained"] is True
    assert answer["model"].startswith("resnet:")
    assert [result["class_id"] for result in answer["results"]] == list(range(len(photographs)))
    assert answer["results"][0]["label"] == "tench"
    assert [len(result["top"]) for result in answer["results"]] == [5] * len(photographs)


def test_the_answers_are_those_of_torchvisions_own_network(client, photographs, resnet_weights):
    network, _ = load_network("resnet18", str(resnet_weights), seed=0)
    sent = jpegs(photographs)
    transform = ResNet18_Weights.DEFAULT.transforms()
    decoded = [Image.open(io.BytesIO(file[1])) for _, file in sent]
    with torch.inference_mode():
        expected = network(torch.stack([transform(image) for image in decoded])).softmax(1)

    answer = client.post("/classify", files=sent, data={"model": "resnet"}).raise_for_status().json()

    for result, row in zip(answer["results"], expected, strict=True):
        assert result["class_id"] == row.argmax()
        assert result["probability"] == pytest.approx(row.max().item(), abs=0.05)  # one of them in bfloat16


def test_unseen_pieces_of_the_same_photographs_are_no_drift_and_blurred_ones_are(client, crops):
    pieces = crops(64, UNSEEN)
    blurred = [piece.filter(ImageFilter.GaussianBlur(8)) for piece in pieces]

    same, drifted = (
        client.post("/drift", files=jpegs(images), data={"model": "resnet"}).raise_for_status().json()
        for images in (pieces, blurred)
    )

    assert same["p_value"] > 0.01
    assert not same["is_drift"]
    assert drifted["is_drift"]
    assert drifted["trained"] is True
    assert drifted["n_reference"] == 76


def test_bfloat16_finds_the_drift_that_float32_finds(client, home, serve, crops):
    """The reference is the same; what features lose in bfloat16 is far less than images differ by."""
    batches = [crops(32, seed) for seed in range(5, 9)]

    def p_values(service: httpx.Client) -> list[float]:
        answers = [
            service.post("/drift", files=jpegs(batch), data={"model": "resnet"}).raise_for_status().json()
            for batch in batches
        ]
        return [answer["p_value"] for answer in answers]

    fast = p_values(client)
    with serve(home, PRECISION="float32") as service:
        precisions = {one["name"]: one["precision"] for one in service.get("/models").json()["models"]}
        exact = p_values(service)

    assert set(precisions.values()) == {"float32"}
    assert fast == pytest.approx(exact, abs=0.05)


def test_digits_and_photographs_asked_for_at_the_same_time_do_not_mix(
    client, photographs, as_files, held_out
):
    digits = [as_files([image]) for image in held_out.images[:40]]
    pictures = [jpegs([image]) for image in photographs] * 3
    questions = [(files, "mnist") for files in digits] + [(files, "resnet") for files in pictures]
    questions = questions[::2] + questions[1::2]

    def ask(question: tuple[list, str]) -> tuple[int, int]:
        files, model = question
        answer = client.post("/classify", files=files, data={"model": model}).raise_for_status().json()
        assert answer["model"].startswith(model)
        return answer["results"][0]["class_id"]

    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(ask, questions))

    assert together == [ask(question) for question in questions]


def test_a_large_jpeg_is_seen_as_its_small_version(client, photographs):
    large, small = photographs[0].resize((3072, 3072)), photographs[0].resize((600, 600))

    answer = client.post("/classify", files=jpegs([large, small]), data={"model": "resnet"}).json()

    first, second = answer["results"]
    assert first["class_id"] == second["class_id"] == 0
    assert first["probability"] == pytest.approx(second["probability"], abs=0.1)


def test_models_lists_both_with_what_is_known_of_them(client):
    models = {model["name"]: model for model in client.get("/models").json()["models"]}

    assert set(models) == {"mnist", "resnet"}
    resnet = models["resnet"]
    assert resnet["ready"]
    assert resnet["trained"] is True
    assert resnet["precision"] in {"float32", "bfloat16"}
    assert len(resnet["classes"]) == 1000
    assert resnet["metadata"]["architecture"] == "resnet18"
    assert resnet["metadata"]["resize_size"] == 256
    assert resnet["drift_reference"]["n_features"] == 512


def test_a_store_with_a_resnet_alone_is_served_and_says_how_to_train_the_other(
    resnet_home, serve, photographs, as_files, held_out
):
    with serve(resnet_home) as client:
        photograph = client.post("/classify", files=jpegs(photographs[:1]), data={"model": "resnet"})
        digit = client.post("/classify", files=as_files(held_out.images[:1]))

    assert photograph.status_code == 200
    assert digit.status_code == 503
    assert digit.headers["content-type"] == PROBLEM
    assert "python -m train mnist" in digit.json()["detail"]


def test_random_weights_are_marked_in_every_answer_and_no_reference_says_how_to_make_one(
    tmp_path, run_command, serve, photographs
):
    run_command([sys.executable, "-m", "train", "resnet", "--weights", "random"], tmp_path)

    with serve(tmp_path) as client:
        classified = client.post("/classify", files=jpegs(photographs[:1]), data={"model": "resnet"})
        drift = client.post("/drift", files=jpegs(photographs[:2]), data={"model": "resnet"})
        (model,) = client.get("/models").json()["models"]

    assert classified.json()["trained"] is False
    assert model["trained"] is False
    assert model["metadata"]["trained"] is False
    assert drift.status_code == 409
    assert "`python -m train resnet --reference FOLDER`" in drift.json()["detail"]

"""The service as its users meet it: a real `bentoml serve` process with a model really trained, over HTTP."""

import io
import json
import os
import socket
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image, ImageFilter

from train.data import full_mnist

PROBLEM = "application/problem+json"
DATA = Path(os.environ.get("MNIST_DATA", "data"))
FULL_SET = DATA / "MNIST" / "raw" / "train-images-idx3-ubyte"


def blurred(images, radius: float) -> list[np.ndarray]:
    blur = ImageFilter.GaussianBlur(radius)
    return [np.asarray(Image.fromarray(np.asarray(image)).filter(blur)) for image in images]


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


def test_held_out_digits_are_classified(service, as_files, splits):
    assert accuracy(service, as_files, splits.held_out) >= 0.97


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.skipif(not FULL_SET.exists(), reason=f"needs MNIST's four files in {FULL_SET.parent}")
def test_trained_on_the_full_set_hardly_a_digit_is_missed(tmp_path, serve, as_files, run_command):
    run_command([sys.executable, "-m", "train", "mnist", "--dataset", "full", "--data", str(DATA)], tmp_path)

    with serve(tmp_path) as client:
        assert accuracy(client, as_files, full_mnist(DATA).held_out) >= 0.992


def test_results_come_in_the_order_of_the_images_with_the_top_k_classes(service, as_files, held_out):
    answer = service.post("/classify", files=as_files(held_out.images[:5]), data={"top_k": "3"}).json()

    assert answer["model"].startswith("mnist:")
    assert [result["index"] for result in answer["results"]] == [0, 1, 2, 3, 4]
    assert [result["filename"] for result in answer["results"]] == [f"{index:04d}.png" for index in range(5)]
    for result in answer["results"]:
        probabilities = [prediction["probability"] for prediction in result["top"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert len(probabilities) == 3
        assert result["probability"] == probabilities[0]
        assert result["label"] == str(result["class_id"]) == result["top"][0]["label"]


def test_no_more_classes_are_returned_than_there_are(service, as_files, held_out):
    answer = service.post("/classify", files=as_files(held_out.images[:1]), data={"top_k": "1000"}).json()

    top = answer["results"][0]["top"]
    assert len(top) == 10
    assert sum(prediction["probability"] for prediction in top) == pytest.approx(1, abs=1e-5)


def test_a_bad_image_among_good_ones_gets_an_error_in_its_place(service, as_files, held_out):
    good = as_files(held_out.images[:2])
    files = [good[0], ("images", ("bad.png", b"not an image", "image/png")), good[1]]

    answer = service.post("/classify", files=files)

    assert answer.status_code == 200
    first, bad, last = answer.json()["results"]
    assert bad["error"]["status"] == 422
    assert "Send PNG, JPEG" in bad["error"]["detail"]
    assert (bad["index"], bad["filename"]) == (1, "bad.png")
    assert {"label", "top"} <= first.keys() & last.keys()


@pytest.mark.parametrize("model", [{}, {"model": "mnist"}], ids=["by default", "by name"])
def test_digits_held_out_from_the_reference_are_no_drift(service, as_files, held_out, model):
    answer = service.post("/drift", files=as_files(held_out.images[:128]), data=model).json()

    assert answer["p_value"] > 0.01
    assert answer["is_drift"] == (answer["p_value"] <= answer["alpha"])
    assert (answer["n_batch"], answer["n_reference"]) == (128, 600)
    assert (answer["detector"], answer["kernel"], answer["n_permutations"]) == ("mmd", "gaussian", 999)
    assert len(answer["driving_images"]) == 10


def test_blurred_digits_are_drift(service, as_files, held_out):
    answer = service.post("/drift", files=as_files(blurred(held_out.images[:128], 2))).json()

    assert answer["p_value"] == 0.001
    assert answer["is_drift"]


def test_clothes_are_drift(service, as_files, fashion):
    answer = service.post("/drift", files=as_files(fashion)).json()

    assert answer["p_value"] == 0.001
    assert answer["is_drift"]


def test_the_images_that_drive_the_score_are_the_strange_ones(service, as_files, held_out):
    """Sixteen digits among sixty-four are blurred; the ten foremost are nearly all of them."""
    images = [*held_out.images[:48], *blurred(held_out.images[48:64], 3)]

    driving = service.post("/drift", files=as_files(images)).json()["driving_images"]

    assert sum(image["index"] >= 48 for image in driving) >= 9
    assert all(image["filename"] == f"{image['index']:04d}.png" for image in driving)
    assert [image["witness"] for image in driving] == sorted((i["witness"] for i in driving), reverse=True)


def test_files_an_array_and_an_archive_of_the_same_images_score_the_same(service, as_files, png, held_out):
    images = held_out.images[:32].numpy()
    npy, npz, archive = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(npy, images)
    np.savez_compressed(npz, images=images)
    with zipfile.ZipFile(archive, "w") as file:
        for index, image in enumerate(images):
            file.writestr(f"{index:04d}.png", png(image))
    batches = [("batch.npy", npy), ("batch.npz", npz), ("batch.zip", archive)]

    answers = [service.post("/drift", files=as_files(images)).json()] + [
        service.post("/drift", files={"images": (name, stream.getvalue())}).json() for name, stream in batches
    ]

    assert {(answer["n_batch"], answer["score"], answer["p_value"]) for answer in answers} == {
        (32, answers[0]["score"], answers[0]["p_value"])
    }


def test_a_bad_image_is_left_out_of_the_drift_test_and_named(service, as_files, held_out):
    files = [*as_files(held_out.images[:20]), ("images", ("bad.png", b"not an image", "image/png"))]

    answer = service.post("/drift", files=files).json()

    assert answer["n_batch"] == 20
    assert [(error["index"], error["filename"]) for error in answer["image_errors"]] == [(20, "bad.png")]


GARBAGE = ("garbage.png", bytes(range(256)) * 4, "image/png")
FORM = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n\xff-\r\n--x--\r\n'
TEXT = ("letter.png", b"Dear reader, this is text.", "image/png")


@pytest.mark.parametrize("path", ["/classify", "/drift"])
@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        pytest.param({"files": {"images": GARBAGE}}, 422, "no image in a format known", id="garbage"),
        pytest.param({"files": {"images": TEXT}}, 422, "no image in a format known", id="text as .png"),
        pytest.param({"files": {"images": ("a.txt", b"hi", "text/plain")}}, 415, "text/plain", id="text"),
        pytest.param({"files": {"images": ("a.png", b"", "image/png")}}, 422, "empty", id="empty file"),
        pytest.param({}, 400, "The request is empty", id="empty body"),
        pytest.param({"json": {"images": []}}, 415, "application/json", id="JSON"),
        pytest.param({"data": {"images": "a"}}, 415, "urlencoded", id="form without files"),
        pytest.param(
            {"files": {"images": (None, "http://127.0.0.1/a.png")}}, 400, "text", id="string for file"
        ),
        pytest.param({"files": {"image": GARBAGE}}, 400, "Send files as 'images'", id="wrong field"),
        pytest.param({"files": {"model": (None, "mnist")}}, 400, "holds no image", id="no image"),
        pytest.param(
            {"files": {"images": GARBAGE}, "data": {"topk": "3"}}, 400, "'topk'", id="unknown field"
        ),
        pytest.param(
            {"files": {"images": GARBAGE}, "data": {"model": "vgg"}}, 404, "'vgg'", id="unknown model"
        ),
        pytest.param(
            {"files": [("images", GARBAGE), ("model", (None, "a")), ("model", (None, "b"))]},
            400,
            "twice",
            id="field sent twice",
        ),
        pytest.param({"files": [("images", GARBAGE)] * 2000}, 413, "more than 1000 files", id="2,000 files"),
        pytest.param(
            {"content": b"--x\r\nrubbish", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            "multipart",
            id="damaged multipart",
        ),
        pytest.param(
            {
                "content": FORM,
                "headers": {"content-type": "multipart/form-data; boundary=x; charset=punycode"},
            },
            400,
            "Send utf-8",
            id="another charset",
        ),
        pytest.param(
            {"content": b"rubbish", "headers": {"content-type": "multipart/form-data"}},
            400,
            "boundary",
            id="no boundary",
        ),
    ],
)
def test_a_request_that_makes_no_sense_is_the_callers_problem(service, path, request_, status, says):
    response = service.post(path, **request_)

    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    document = response.json()
    assert {"type", "title", "status", "detail"} <= document.keys()
    assert says in document["detail"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"alpha": "2"}, "alpha"),
        ({"alpha": "0"}, "alpha"),
        ({"alpha": "nan"}, "alpha"),
        ({"alpha": "0.0005"}, "at least 1999 permutations"),
        ({"n_permutations": "1000000"}, "n_permutations"),
        ({"n_permutations": "many"}, "n_permutations"),
        ({"detector": "psychic"}, "detector"),
        ({"kernel": "popcorn"}, "kernel"),
    ],
    ids=str,
)
def test_a_drift_field_out_of_range_is_an_error_that_names_it(service, as_files, held_out, fields, says):
    response = service.post("/drift", files=as_files(held_out.images[:2]), data=fields)

    assert response.status_code == 400
    assert says in response.json()["detail"]


@pytest.mark.parametrize("top_k", ["0", "-1", "1001", "three", ""])
def test_a_top_k_out_of_range_is_an_error_that_names_it(service, as_files, held_out, top_k):
    response = service.post("/classify", files=as_files(held_out.images[:1]), data={"top_k": top_k})

    assert response.status_code == 400
    assert "top_k" in response.json()["detail"]


def test_a_long_field_is_not_repeated_in_the_answer(service, as_files, held_out):
    response = service.post("/drift", files=as_files(held_out.images[:2]), data={"kernel": "k" * 500_000})

    assert response.status_code == 400
    assert len(response.content) < 1000


def test_images_of_odd_kinds_are_answered(service):
    """Each of these made one or another decoder or converter fail."""
    kinds = [
        Image.new("LAB", (9, 9)),
        Image.new("CMYK", (9, 9)),
        Image.new("L", (1, 1000)),
        Image.new("1", (1, 1)),
    ]
    files = []
    for index, image in enumerate(kinds):
        stream = io.BytesIO()
        image.save(stream, "TIFF")
        files.append(("images", (f"{index}.tiff", stream.getvalue(), "image/tiff")))

    results = service.post("/classify", files=files).json()["results"]

    assert ["label" in result for result in results] == [True] * 4


def test_one_image_is_no_batch(service, as_files, held_out):
    response = service.post("/drift", files=as_files(held_out.images[:1]))

    assert response.status_code == 422
    assert "at least 2" in response.json()["detail"]


def test_when_no_image_can_be_used_the_problem_names_each(service):
    response = service.post("/classify", files=[("images", GARBAGE), ("images", TEXT)])

    assert response.status_code == 422
    document = response.json()
    assert "None of the 2 images" in document["detail"]
    assert [error["filename"] for error in document["image_errors"]] == ["garbage.png", "letter.png"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/classify", 405), ("PUT", "/drift", 405), ("POST", "/models", 405)],
)
def test_what_bentoml_and_starlette_refuse_is_a_problem_document_too(service, method, path, status):
    response = service.request(method, path)

    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM
    assert response.json()["status"] == status


def test_models_says_what_is_loaded(service):
    (model,) = service.get("/models").json()["models"]

    assert (model["name"], model["ready"]) == ("mnist", True)
    assert model["classes"] == list("0123456789")
    assert model["drift_reference"]["n_reference"] == 600
    assert model["metadata"]["accuracy"] >= 0.97


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/docs.json", "/"])
def test_bentomls_own_endpoints_answer(service, path):
    assert service.get(path).status_code == 200


def test_the_document_of_the_api_lists_every_endpoint_and_every_schema_that_it_names(service):
    document = service.get("/docs.json").json()

    assert {"/classify", "/drift", "/models", "/livez", "/readyz", "/metrics"} <= document["paths"].keys()
    named = {part.partition('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert named <= document["components"]["schemas"].keys()
    fields = document["paths"]["/drift"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"images", "alpha", "detector", "kernel", "model", "n_permutations"} == fields["properties"].keys()


def test_requests_at_the_same_time_get_their_own_answers(service, as_files, held_out):
    def labels(start: int) -> list[str]:
        answer = service.post("/classify", files=as_files(held_out.images[start : start + 10])).json()
        return [result["label"] for result in answer["results"]]

    one_by_one = [labels(start) for start in range(0, 200, 10)]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(labels, range(0, 200, 10)))

    assert together == one_by_one


def test_limits_are_set_by_the_environment(store, serve, as_files, held_out):
    limits = {"MAX_IMAGES": "3", "MAX_BODY_BYTES": "20000", "MAX_PIXELS": "1000"}
    large = {"images": ("large.png", bytes(30_000), "image/png")}

    with serve(store, **limits) as client:
        too_many = client.post("/classify", files=as_files(held_out.images[:4]))
        too_large = client.post("/classify", files=large)
        too_fine = client.post("/classify", files=as_files([np.zeros((40, 40), np.uint8)]))
        within = client.post("/classify", files=as_files(held_out.images[:3]))

    assert [answer.status_code for answer in (too_many, too_large, too_fine, within)] == [413, 413, 413, 200]
    assert "more than 3 files" in too_many.json()["detail"]
    assert "at most 20,000" in too_large.json()["detail"]
    assert "at most 1,000" in too_fine.json()["detail"]


def test_a_request_that_takes_too_long_is_a_problem_too(store, serve, as_files, held_out):
    with serve(store, TIMEOUT_SECONDS="0.001") as client:
        answer = client.post("/drift", files=as_files(held_out.images[:128]))

    assert answer.status_code == 504
    assert answer.headers["content-type"] == PROBLEM


def test_more_requests_than_are_taken_at_a_time_are_told_so_and_the_others_are_answered(
    store, serve, as_files, held_out
):
    files = as_files(held_out.images[:300])

    with serve(store, MAX_CONCURRENCY="1") as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/drift", files=files), range(8)))

    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(answer.headers["content-type"] == PROBLEM for answer in answers if answer.status_code == 429)


def test_several_workers_give_the_same_answers(store, serve, as_files, held_out):
    files = as_files(held_out.images[:32])

    with serve(store, WORKERS="2") as client, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.post("/drift", files=files).json(), range(16)))

    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["n_batch"] == 32


def test_a_client_that_leaves_in_the_middle_of_its_request_is_no_defect(store, serve):
    beginning = (
        b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )

    with serve(store) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
            connection.sendall(beginning)
        deadline = time.monotonic() + 10
        while 'endpoint="/classify"' not in (metrics := client.get("/metrics").text):
            assert time.monotonic() < deadline, metrics

    assert 'endpoint="/classify",http_response_code="400"' in metrics
    assert 'http_response_code="500"' not in metrics


def test_a_store_without_models_is_a_service_that_says_how_to_train_one(tmp_path, serve, as_files, held_out):
    with serve(tmp_path, ready="/livez") as client:
        answer = client.post("/classify", files=as_files(held_out.images[:1]))
        ready = client.get("/readyz")

    assert answer.status_code == 503
    assert "python -m train mnist" in answer.json()["detail"]
    assert ready.status_code == 503
    assert ready.headers["content-type"] == PROBLEM


def test_a_model_that_fails_its_golden_check_is_not_served_and_the_log_says_by_how_much(
    store, tmp_path, serve, copy_store, spoil_golden, as_files, held_out
):
    home = copy_store(store, tmp_path / "home")
    spoil_golden(home)

    with serve(home, ready="/livez", log=tmp_path / "log") as client:
        answer = client.post("/classify", files=as_files(held_out.images[:1]))
        ready = client.get("/readyz")
        (model,) = client.get("/models").json()["models"]

    assert (answer.status_code, ready.status_code) == (503, 503)
    assert not model["ready"]
    assert "off by" in model["reason"]
    assert model["reason"] in (tmp_path / "log").read_text()

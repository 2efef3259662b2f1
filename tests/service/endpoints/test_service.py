"""The service as its users meet it: a real `bentoml serve` process with a model really trained, over HTTP."""

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFilter


def blurred(images, radius: float) -> list[np.ndarray]:
    blur = ImageFilter.GaussianBlur(radius)
    return [np.asarray(Image.fromarray(np.asarray(image)).filter(blur)) for image in images]


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


def test_a_blank_image_among_digits_is_told_apart_and_the_others_are_answered(service, as_files, held_out):
    files = as_files([*held_out.images[:2].numpy(), np.full((280, 280), 255, np.uint8)])

    classified, tested = (service.post(path, files=files).json() for path in ("/classify", "/drift"))

    first, second, blank = classified["results"]
    assert first["warning"] is second["warning"] is None
    assert (blank["index"], blank["error"]["status"]) == (2, 422)
    assert blank["error"]["type"] == "urn:driftbento:problem:no-digit"
    assert (tested["n_batch"], tested["image_errors"]) == (2, [blank])


@pytest.mark.parametrize("path", ["/classify", "/drift"])
def test_blank_images_alone_get_no_answer(service, as_files, path):
    answer = service.post(path, files=as_files([np.full((280, 280), 128, np.uint8)] * 2))

    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "urn:driftbento:problem:no-digit")
    assert len(problem["image_errors"]) == 2


def test_two_digits_in_one_image_are_answered_with_a_warning(service, as_files, held_out):
    pair = np.pad(np.hstack([*held_out.images[:2].numpy()]), 20)

    (result,) = service.post("/classify", files=as_files([pair])).json()["results"]

    assert result["warning"]["kind"] == "several-digits"
    assert "one digit at a time" in result["warning"]["detail"]
    assert result["label"]


@pytest.mark.parametrize("model", [{}, {"model": "mnist"}], ids=["by default", "by name"])
def test_digits_held_out_from_the_reference_are_no_drift(service, as_files, held_out, model):
    answer = service.post("/drift", files=as_files(held_out.images[:128]), data=model).json()

    assert answer["p_value"] > 0.01
    assert answer["is_drift"] == (answer["p_value"] <= answer["alpha"])
    assert (answer["n_batch"], answer["n_reference"]) == (128, 1000)
    assert (answer["detector"], answer["kernel"], answer["n_permutations"]) == ("mmd", "aggregate", 999)
    assert len(answer["kernels"]) == 10
    assert len(answer["driving_images"]) == 10


def test_blurred_digits_are_drift(service, as_files, held_out):
    answer = service.post("/drift", files=as_files(blurred(held_out.images[:128], 2))).json()

    assert answer["p_value"] == 0.001
    assert answer["is_drift"]


def test_clothes_are_drift(service, as_files, fashion):
    answer = service.post("/drift", files=as_files(fashion)).json()

    assert answer["p_value"] == 0.001
    assert answer["is_drift"]


@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "rational_quadratic", "aggregate"])
def test_every_kernel_tells_blurred_digits_from_sharp_ones(service, as_files, held_out, kernel):
    sharp, blurry = held_out.images[:64], blurred(held_out.images[:64], 2)

    answers = [
        service.post("/drift", files=as_files(images), data={"kernel": kernel}).json()
        for images in (sharp, blurry)
    ]

    assert [answer["p_value"] <= 0.01 for answer in answers] == [False, True]
    assert all(answer["kernel"] == kernel for answer in answers)


def test_the_ks_detector_says_which_classes_moved(service, as_files, held_out):
    sharp, blurry = held_out.images[:64], blurred(held_out.images[:64], 2)

    first, second = (
        service.post("/drift", files=as_files(images), data={"detector": "ks"}).json()
        for images in (sharp, blurry)
    )

    assert first["p_value"] > 0.01 >= second["p_value"]
    distances = [moved["distance"] for moved in second["class_distances"]]
    assert second["score"] == distances[0] == max(distances)
    assert (second["kernel"], second["n_permutations"], second["driving_images"]) == (None, None, [])


def test_the_label_shift_detector_says_which_class_is_missing(service, as_files, held_out):
    few = held_out.images[held_out.labels != 3][:200]

    everything, without = (
        service.post("/drift", files=as_files(images), data={"detector": "label_shift"}).json()
        for images in (held_out.images[:200], few)
    )

    assert everything["p_value"] > 0.01 >= without["p_value"]
    foremost = without["class_counts"][0]
    assert (foremost["label"], foremost["residual"] < -3) == ("3", True)
    assert foremost["observed"] < foremost["expected"]


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


def test_images_of_odd_kinds_are_answered_or_have_no_digit(service):
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

    answer = service.post("/classify", files=files)

    assert answer.status_code == 422
    kinds_of_problem = [one["error"]["type"] for one in answer.json()["image_errors"]]
    assert kinds_of_problem == ["urn:driftbento:problem:no-digit"] * 4


def test_models_says_what_is_loaded(service):
    (model,) = service.get("/models").json()["models"]

    assert (model["name"], model["ready"]) == ("mnist", True)
    assert model["classes"] == list("0123456789")
    assert model["drift_reference"]["n_reference"] == 1000
    assert model["drift_reference"]["max_batch"] == 1000
    assert set(model["drift_reference"]["kernels"]) > {"gaussian", "aggregate"}
    assert 0 < model["metadata"]["accuracy"] <= 1


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

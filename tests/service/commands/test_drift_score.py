"""`python -m drift score`: one answer for every form of the images, and exit statuses for pipelines."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cli.drift import main
from drift import Reference

OK, ERROR, DRIFT = 0, 2, 3


def test_a_pipeline_can_branch_on_the_exit_status(drift, images):
    same = drift("score", "--model", "mnist", images / "folder")
    drifted = drift("score", "--model", "mnist", images / "blurred.npy")
    wrong = drift("score", "--model", "mnist", images / "nowhere")

    assert (same.returncode, drifted.returncode, wrong.returncode) == (OK, DRIFT, ERROR)
    assert "no drift" in same.stdout
    assert "no drift" not in drifted.stdout
    assert "nowhere: No such file or directory" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_every_form_of_the_same_images_gets_the_same_answer(in_process, images, capsys):
    answers = {}
    for name in (
        *("folder", "digits.npy", "digits.npz", "digits.zip"),
        *("digits-idx3-ubyte", "digits-idx3-ubyte.gz"),
    ):
        main(["score", "--model", "mnist", "--json", str(images / name)])
        answer = json.loads(capsys.readouterr().out)
        answers[name] = (answer["score"], answer["p_value"], answer["n_batch"])

    assert len(set(answers.values())) == 1, answers
    assert answers["folder"][2] == 64


def test_the_service_gives_the_same_answer(in_process, service, images, capsys):
    main(["score", "--model", "mnist", "--json", str(images / "digits.npy")])
    local = json.loads(capsys.readouterr().out)

    remote = service.post("/drift", files={"images": (images / "digits.npy").open("rb")}).json()

    assert local == remote


@pytest.mark.parametrize("detector", ["mmd", "ks", "label_shift"])
def test_every_detector_can_be_asked(in_process, images, capsys, detector):
    blurred = str(images / "blurred.npy")

    status = main(["score", "--model", "mnist", "--json", "--detector", detector, blurred])

    answer = json.loads(capsys.readouterr().out)
    assert answer["detector"] == detector
    assert status == DRIFT


def test_features_need_no_model(features, fit_features, capsys):
    against = ["score", "--reference", str(fit_features())]

    assert main([*against, str(features / "same.npy")]) == OK
    assert main([*against, str(features / "drifted.npy")]) == DRIFT


def test_an_image_that_cannot_be_used_is_left_out_of_a_batch_and_spoils_its_status(
    in_process, images, tmp_path, capsys
):
    shutil.copytree(images / "folder", tmp_path / "batch")
    (tmp_path / "batch" / "broken.png").write_bytes(b"\x89PNG\r\n")

    status = main(["score", "--model", "mnist", "--json", str(tmp_path / "batch")])

    answer = json.loads(capsys.readouterr().out)
    assert status == ERROR
    assert answer["n_batch"] == 64
    assert [image["filename"] for image in answer["image_errors"]] == ["broken.png"]


def test_pictures_of_any_size_are_prepared_as_the_service_does(
    in_process, service, held_out, tmp_path, capsys
):
    for index, digit in enumerate(held_out.images[:40]):
        large = Image.fromarray(255 - digit.numpy()).resize((140, 140)).filter(ImageFilter.GaussianBlur(1))
        large.save(tmp_path / f"{index}.jpg")

    main(["score", "--model", "mnist", "--json", str(tmp_path)])
    local = json.loads(capsys.readouterr().out)

    files = [("images", (path.name, path.read_bytes(), "image/jpeg")) for path in sorted(tmp_path.iterdir())]
    remote = service.post("/drift", files=files).json()
    assert local == remote
    assert local["n_batch"] == 40


def test_a_blank_sheet_among_digits_is_left_out_and_named(in_process, held_out, tmp_path, capsys):
    for index, digit in enumerate(held_out.images[:40]):
        Image.fromarray(digit.numpy()).save(tmp_path / f"{index}.png")
    Image.new("L", (100, 140), 250).save(tmp_path / "blank.png")

    status = main(["score", "--model", "mnist", "--json", "--alpha", "0.001", str(tmp_path)])

    answer = json.loads(capsys.readouterr().out)
    assert status == ERROR
    assert answer["n_batch"] == 40
    (left_out,) = answer["image_errors"]
    assert (left_out["filename"], left_out["error"]["type"]) == (
        "blank.png",
        "urn:driftbento:problem:no-digit",
    )


def test_a_reference_of_another_model_is_refused(
    in_process, images, held_out, tmp_path, fit_features, capsys
):
    """To compare what one model sees with what another one saw would find drift in anything."""
    np.save(tmp_path / "held_out.npy", held_out.images[64:264].numpy())
    out = tmp_path / "reference.safetensors"
    quick = ["--n-permutations", "199", "--max-batch", "64", "--certificate-share", "0"]
    assert main(["fit", "--model", "mnist", str(tmp_path / "held_out.npy"), "--out", str(out), *quick]) == OK
    replace(Reference.load(out), source="other weights").save(tmp_path / "other.safetensors")
    against = ["score", "--model", "mnist", str(images / "folder"), "--alpha", "0.005", "--reference"]

    assert main([*against, str(out)]) == OK
    assert main([*against, str(tmp_path / "other.safetensors")]) == ERROR
    np.save(tmp_path / "held_out.npy", np.random.default_rng(0).normal(size=(200, 4)))
    assert main([*against, str(fit_features("--certificate-share", "0"))]) == ERROR

    assert capsys.readouterr().err.count("another model") == 2

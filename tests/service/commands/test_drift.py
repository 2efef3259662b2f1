"""The command line of drift: fit, score, certificate, and exit statuses that a pipeline can branch on."""

import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from PIL import Image, ImageFilter

from cli.drift import main
from drift import Reference, certify, fitting
from vision.corruptions import gaussian_blur

ROOT = Path(__file__).parents[3]
OK, ERROR, DRIFT = 0, 2, 3


@pytest.fixture(scope="module")
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


def fit_features(features: Path, *options: str) -> Path:
    out = features / "reference.safetensors"
    quick = ["--n-permutations", "99", "--max-batch", "60", "--batches", "50", "--kernel", "gaussian"]
    assert main(["fit", str(features / "held_out.npy"), "--out", str(out), *quick, *options]) == OK
    return out


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


def test_a_reference_fitted_on_images_finds_drift_and_says_from_which_blur_on(
    in_process, held_out, images, tmp_path, capsys
):
    np.save(tmp_path / "held_out.npy", held_out.images[64:464].numpy())
    out = tmp_path / "reference.safetensors"

    quick = ["--n-permutations", "99", "--max-batch", "64", "--batches", "50", "--kernel", "gaussian"]
    fitted = main(["fit", "--model", "mnist", str(tmp_path / "held_out.npy"), "--out", str(out), *quick])

    assert fitted == OK
    assert "Smallest blur" in capsys.readouterr().out
    certificate = Reference.load(out).certificate
    assert certificate is not None
    assert [blur.m for blur in certificate.blurs] == [16, 64]
    assert 0 < certificate.blurs[1].sigma < 2
    against = ["score", "--model", "mnist", "--reference", str(out), "--kernel", "gaussian"]
    assert main([*against, str(images / "folder")]) == OK
    assert main([*against, str(images / "blurred.npy")]) == DRIFT


def test_features_need_no_model(features, capsys):
    against = ["score", "--reference", str(fit_features(features))]

    assert main([*against, str(features / "same.npy")]) == OK
    assert main([*against, str(features / "drifted.npy")]) == DRIFT


def test_no_sample_is_in_two_uses(features, monkeypatch):
    """What each use gets is watched from outside: together they are all the samples, each of them once."""
    certified = []

    def watch(reference, held_out, **options):
        certified.append(held_out)
        return certify(reference, held_out, **options)

    lengthscales = []

    def watch_fit(*samples, lengthscale_sample, **options):
        lengthscales.append(lengthscale_sample)
        return fit(*samples, lengthscale_sample=lengthscale_sample, **options)

    fit = Reference.fit
    monkeypatch.setattr(fitting, "certify", watch)
    monkeypatch.setattr(Reference, "fit", watch_fit)

    reference = Reference.load(fit_features(features))

    held_out = torch.from_numpy(np.load(features / "held_out.npy").astype(np.float32))
    used = torch.cat([lengthscales[0], certified[0], reference.features])
    assert [len(part) for part in (lengthscales[0], certified[0], reference.features)] == [60, 240, 300]
    assert used.unique(dim=0).equal(held_out.unique(dim=0))
    assert len(used) == len(held_out)
    assert reference.certificate.n_held_out == 240


def test_a_few_copies_of_a_sample_stay_in_one_use(features, monkeypatch, capsys):
    certified = []

    def watch(reference, held_out, **options):
        certified.append(held_out)
        return certify(reference, held_out, **options)

    monkeypatch.setattr(fitting, "certify", watch)

    np.save(features / "held_out.npy", np.load(features / "held_out.npy").repeat(2, axis=0))

    reference = Reference.load(fit_features(features))

    in_both = set(map(tuple, reference.features.tolist())) & set(map(tuple, certified[0].tolist()))
    assert not in_both
    assert len(reference) == 600
    assert len(reference.features.unique(dim=0)) == 300
    assert "1,200 of the 1,200 samples are the same to the model as others" in capsys.readouterr().err


def test_the_seed_says_who_is_in_the_reference(features):
    first, second, other = (
        Reference.load(fit_features(features, "--seed", seed)).features for seed in ("0", "0", "1")
    )

    assert first.equal(second)
    assert not first.equal(other)


def test_the_certificate_is_shown_as_a_table_and_as_json(features, capsys):
    out = fit_features(features)
    capsys.readouterr()

    assert main(["certificate", "--reference", str(out)]) == OK
    table = capsys.readouterr().out
    assert main(["certificate", "--reference", str(out), "--json"]) == OK
    certificate = json.loads(capsys.readouterr().out)

    assert "Alarms at 0.05" in table
    assert certificate["n_batches"] == 50
    assert [one["m"] for one in certificate["false_alarms"]] == [16, 16]
    assert certificate["false_alarms"][0]["n_disjoint"] == 15


def test_the_models_own_certificate_is_shown(drift):
    shown = drift("certificate", "--model", "mnist", "--json")

    assert shown.returncode == OK
    assert json.loads(shown.stdout)["n_batches"] == 1000


def test_json_is_all_that_is_printed(features, capsys):
    out = fit_features(features, "--json")

    facts = json.loads(capsys.readouterr().out)
    assert facts["reference"] == str(out)
    assert (facts["n_reference"], facts["n_features"], facts["kernels"]) == (300, 4, ["gaussian"])
    assert facts["certificate"]["n_held_out"] == 240


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


def test_no_reference_is_made_of_images_that_cannot_all_be_used(in_process, images, tmp_path, capsys):
    shutil.copytree(images / "folder", tmp_path / "batch")
    (tmp_path / "batch" / "broken.png").write_bytes(b"\x89PNG\r\n")

    status = main(["fit", "--model", "mnist", str(tmp_path / "batch"), "--out", str(tmp_path / "out")])

    assert status == ERROR
    assert "broken.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


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


def test_a_reference_of_another_model_is_refused(in_process, images, held_out, tmp_path, capsys):
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
    assert main([*against, str(fit_features(tmp_path, "--certificate-share", "0"))]) == ERROR

    assert capsys.readouterr().err.count("another model") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "{features}/same.npy"], "--reference FILE, --model NAME"),
        (["score", "--reference", "{features}/none", "{features}/same.npy"], "none: No such file"),
        (["score", "--reference", "{features}/same.npy", "{features}/same.npy"], "no drift reference"),
        (["score", "--reference", "{fitted}", "{images}/folder"], "--model NAME"),
        (
            ["score", "--reference", "{fitted}", "--kernel", "exponential", "{features}/same.npy"],
            "without the kernel 'exponential'",
        ),
        (["score", "--reference", "{fitted}", "--alpha", "2", "{features}/same.npy"], "less than 1"),
        (
            ["score", "--reference", "{fitted}", "--detector", "ks", "{features}/same.npy"],
            "without softmax outputs",
        ),
        (["score", "--reference", "{fitted}", "{features}/logits.npz"], "logits.softmax(dim=1)"),
        (["fit", "{features}/logits.npz", "--out", "{features}/r"], "logits.softmax(dim=1)"),
        (["score", "--model", "none:such", "{images}/folder"], "bentoml models list"),
        (["score", "--model", "mnist", "{features}"], "There is no image"),
        (["fit", "{features}/held_out.npy", "--out", "{features}/no/where"], "no such folder"),
        (
            ["fit", "{features}/same.npy", "--out", "{features}/r", "--certificate-share", "0.95"],
            "50 samples are too few",
        ),
        (["fit", "{features}/same.npy", "--out", "{features}/r"], "Give at least 78"),
        (
            ["fit", "{features}/held_out.npy", "--out", "{features}/r", "--max-batch", "9"],
            "batches of at most 9",
        ),
        (["fit", "{features}/held_out.npy", "--out", "{features}"], "is a folder"),
        (["fit", "{features}/black.npy", "--out", "{features}/r"], "600 are black.npy[0]"),
        (["fit", "{features}/nan.npy", "--out", "{features}/r"], "NaN"),
        (["score", "--reference", "{fitted}", "{features}/nan.npy"], "NaN"),
        (["score", "--model", "/x", "{images}/folder"], "bentoml models list"),
        (["score", "--model", "", "{images}/folder"], "bentoml models list"),
        (["score", "--model", "mnist", "{features}/empty.zip"], "There is no image in"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_end_with_status_2_and_what_would_be_right(
    in_process, features, images, arguments, message, capsys
):
    fitted = fit_features(features, "--certificate-share", "0")
    filled = [argument.format(features=features, images=images, fitted=fitted) for argument in arguments]

    status = main(filled)

    assert status == ERROR
    assert message in capsys.readouterr().err
    assert not (features / "r").exists()


def test_a_reference_without_a_certificate_says_so(features, capsys):
    out = fit_features(features, "--certificate-share", "0")

    assert main(["certificate", "--reference", str(out)]) == ERROR
    assert "fitted without one" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "x.npy"],
        ["fit", "x.npy", "--out", "y", "--certificate-share", "1"],
        ["fit", "x.npy", "--out", "y", "--max-batch", "1"],
        ["fit", "x.npy", "--out", "y", "--n-permutations", "18"],
        ["fit", "x.npy", "--out", "y", "--seed", "-1"],
        ["score", "x.npy", "--kernel", "linear"],
        [],
    ],
    ids=" ".join,
)
def test_arguments_that_make_no_sense_end_with_status_2(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == ERROR

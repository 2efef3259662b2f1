"""`python -m drift fit` and `certificate`: who is in a reference, and how far it can be trusted."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import torch

from cli.drift import main
from drift import Reference, certify, fitting

OK, ERROR, DRIFT = 0, 2, 3


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


def test_no_sample_is_in_two_uses(features, fit_features, monkeypatch):
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

    reference = Reference.load(fit_features())

    held_out = torch.from_numpy(np.load(features / "held_out.npy").astype(np.float32))
    used = torch.cat([lengthscales[0], certified[0], reference.features])
    assert [len(part) for part in (lengthscales[0], certified[0], reference.features)] == [60, 240, 300]
    assert used.unique(dim=0).equal(held_out.unique(dim=0))
    assert len(used) == len(held_out)
    assert reference.certificate.n_held_out == 240


def test_a_few_copies_of_a_sample_stay_in_one_use(features, fit_features, monkeypatch, capsys):
    certified = []

    def watch(reference, held_out, **options):
        certified.append(held_out)
        return certify(reference, held_out, **options)

    monkeypatch.setattr(fitting, "certify", watch)

    np.save(features / "held_out.npy", np.load(features / "held_out.npy").repeat(2, axis=0))

    reference = Reference.load(fit_features())

    in_both = set(map(tuple, reference.features.tolist())) & set(map(tuple, certified[0].tolist()))
    assert not in_both
    assert len(reference) == 600
    assert len(reference.features.unique(dim=0)) == 300
    assert "1,200 of the 1,200 samples are the same to the model as others" in capsys.readouterr().err


def test_the_seed_says_who_is_in_the_reference(fit_features):
    first, second, other = (Reference.load(fit_features("--seed", seed)).features for seed in ("0", "0", "1"))

    assert first.equal(second)
    assert not first.equal(other)


def test_the_certificate_is_shown_as_a_table_and_as_json(fit_features, capsys):
    out = fit_features()
    capsys.readouterr()

    assert main(["certificate", "--reference", str(out)]) == OK
    table = capsys.readouterr().out
    assert main(["certificate", "--reference", str(out), "--json"]) == OK
    certificate = json.loads(capsys.readouterr().out)

    assert "Alarms at 0.05" in table
    assert certificate["n_batches"] == 50
    assert [one["m"] for one in certificate["false_alarms"]] == [16, 16]
    assert certificate["false_alarms"][0]["n_disjoint"] == 15


def test_the_models_own_certificate_is_shown(drift, classifier):
    shown = drift("certificate", "--model", "mnist", "--json")

    assert shown.returncode == OK
    assert json.loads(shown.stdout) == json.loads(json.dumps(asdict(classifier.reference.certificate)))


def test_json_is_all_that_is_printed(fit_features, capsys):
    out = fit_features("--json")

    facts = json.loads(capsys.readouterr().out)
    assert facts["reference"] == str(out)
    assert (facts["n_reference"], facts["n_features"], facts["kernels"]) == (300, 4, ["gaussian"])
    assert facts["certificate"]["n_held_out"] == 240


def test_no_reference_is_made_of_images_that_cannot_all_be_used(in_process, images, tmp_path, capsys):
    shutil.copytree(images / "folder", tmp_path / "batch")
    (tmp_path / "batch" / "broken.png").write_bytes(b"\x89PNG\r\n")

    status = main(["fit", "--model", "mnist", str(tmp_path / "batch"), "--out", str(tmp_path / "out")])

    assert status == ERROR
    assert "broken.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_reference_without_a_certificate_says_so(fit_features, capsys):
    out = fit_features("--certificate-share", "0")

    assert main(["certificate", "--reference", str(out)]) == ERROR
    assert "fitted without one" in capsys.readouterr().err

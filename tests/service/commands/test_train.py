"""The command line of training."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cli.train import main
from tests.support.processes import ROOT, environment
from train.errors import TrainingError


def test_samples_are_held_out_digits_sharp_and_blurred_with_their_labels(tmp_path, held_out):
    status = main(["samples", "--dataset", "embedded", "--out", str(tmp_path), "--count", "3"])

    assert status == 0
    names = sorted(path.name for path in (tmp_path / "digits").iterdir())
    assert names == ["0000.png", "0001.png", "0002.png"]
    labels = [f"{name},{label}" for name, label in zip(names, held_out.labels[:3].tolist(), strict=True)]
    assert (tmp_path / "labels.csv").read_text().splitlines() == ["file,label", *labels]
    with Image.open(tmp_path / "digits" / names[1]) as sharp:
        assert sharp.tobytes() == held_out.images[1].numpy().tobytes()
    with Image.open(tmp_path / "blurred" / names[1]) as blurred:
        assert blurred.size == (28, 28)
        assert blurred.tobytes() != held_out.images[1].numpy().tobytes()
        with np.load(tmp_path / "blurred.npz") as arrays:
            assert arrays["images"].shape == (3, 28, 28)
            assert arrays["images"][1].tobytes() == blurred.tobytes()


def test_a_data_set_that_cannot_be_had_ends_with_status_2_and_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", ["http://127.0.0.1:9/"])

    status = main(["mnist", "--dataset", "full", "--data", str(tmp_path)])

    said = capsys.readouterr().err
    assert status == 2
    assert said.startswith("error: MNIST could be neither read from")
    assert said.endswith("or train with --dataset embedded.\n")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "kind", [TrainingError, *TrainingError.__subclasses__()], ids=lambda kind: kind.__name__
)
def test_every_error_is_said_in_sentences_however_many(kind):
    """An exception with two arguments is, to Python, a tuple in words."""
    assert str(kind("This was wrong.", "That is right.")) == "This was wrong. That is right."
    assert str(kind("This was wrong.")) == "This was wrong."


def test_weights_that_cannot_be_had_end_with_status_2_and_what_to_do(tmp_path, capsys):
    status = main(["resnet", "--weights", str(tmp_path / "none.pt")])

    said = capsys.readouterr().err
    assert status == 2
    assert said.startswith(
        f"error: {tmp_path / 'none.pt'} cannot be read (No such file or directory). Give the"
    )


def test_a_folder_that_cannot_be_made_ends_with_status_2_and_its_name(tmp_path, capsys):
    (tmp_path / "file").write_text("")

    status = main(["samples", "--dataset", "embedded", "--out", str(tmp_path / "file"), "--count", "1"])

    assert status == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'file' / 'digits'}: Not a directory\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["mnist", "--epochs", "0"],
        ["mnist", "--dataset", "huge"],
        ["mnist", "--seed", "-1"],
        ["resnet", "--seed", "4294967296"],
        ["samples", "--count", "-1"],
        ["samples", "--blur", "-1"],
        ["samples", "--blur", "nan"],
        [],
    ],
    ids=" ".join,
)
def test_arguments_that_make_no_sense_end_with_status_2(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2


def test_more_samples_than_there_are_held_out_digits_are_refused(tmp_path, capsys):
    status = main(["samples", "--dataset", "embedded", "--out", str(tmp_path), "--count", "1001"])

    assert status == 2
    assert "at most 1000" in capsys.readouterr().err


@pytest.mark.slow
def test_training_loads_nothing_that_it_does_not_use_and_writes_samples_where_it_is_told_to(tmp_path):
    """Torchvision brings PyTorch's compiler with it, and takes longer to load than an epoch takes."""
    command = [sys.executable, "-X", "importtime", "-m", "train", "mnist", "--dataset", "embedded"]
    quickly = ["--epochs", "1", "--no-certificate", "--samples", str(tmp_path / "with_model")]

    trained = subprocess.run(
        command + quickly, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=True
    )

    loaded = {line.rpartition("|")[2].strip() for line in trained.stderr.splitlines() if "|" in line}
    assert "torch" in loaded
    assert not loaded & {"torchvision", "torch._dynamo", "sklearn", "mlxtend.data"}
    assert "Saved as mnist:" in trained.stdout
    main(["samples", "--dataset", "embedded", "--out", str(tmp_path / "alone")])
    with_model, alone = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in (tmp_path / "with_model", tmp_path / "alone")
    )
    assert len(alone) == 2 * 128 + 3
    assert with_model == alone

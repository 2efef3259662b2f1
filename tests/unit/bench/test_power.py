"""The measurement of power: run as a user runs it, only with few runs and small batches."""

import contextlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.power.__main__ import main
from bench.power.tables import Power

DETECTORS = ("aggregate", "gaussian", "ks", "label_shift")
FEW = 15


@pytest.fixture(scope="module")
def few_negatives(tmp_path_factory, held_out) -> Path:
    """A file of too few images for the larger batches: digits, dark on light."""
    path = tmp_path_factory.mktemp("ood") / "negatives.npz"
    np.savez(path, images=255 - held_out.images[:FEW].numpy())
    return path


@pytest.fixture(scope="module")
def measure(model_folder, few_negatives, tmp_path_factory) -> Callable[[], tuple[str, dict]]:
    """Return a function that measures the trained model, and gives what was printed and the JSON."""

    def run() -> tuple[str, dict]:
        written = tmp_path_factory.mktemp("power") / "power.json"
        options = ["--runs", "3", "--m", "10", "20", "100", "--detector", "ks", "--ood", str(few_negatives)]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            status = main([*options, "--model", str(model_folder), "--json", str(written)])
        assert status == 0
        return printed.getvalue(), json.loads(written.read_text())

    return run


@pytest.fixture(scope="module")
def measured(measure) -> tuple[str, dict]:
    return measure()


@pytest.fixture(scope="module")
def printed(measured) -> str:
    return measured[0]


@pytest.fixture(scope="module")
def rates(measured) -> dict[tuple[str, str, int], float | None]:
    """The rate of alarms by detector, shift and size."""
    return {(row["detector"], row["shift"], row["m"]): row["rate"] for row in measured[1]["rates"]}


def row(text: str, label: str) -> list[str]:
    """Return the cells of a table's row."""
    (line,) = re.findall(rf"│ {re.escape(label)} +│(.+)│$", text, re.MULTILINE)
    return [cell.strip() for cell in line.split("│")]


@pytest.mark.parametrize("detector", DETECTORS)
def test_where_nothing_is_shifted_there_are_few_alarms(rates, detector):
    alarms = [rates[detector, "no shift", m] for m in (10, 20, 100)]

    assert np.mean(alarms) <= 0.5  # each has a chance of 0.05


@pytest.mark.parametrize("shift", ["Gaussian noise, large", "Gaussian blur, large"])
@pytest.mark.parametrize("detector", ["aggregate", "gaussian", "ks"])
def test_a_large_shift_is_always_found(rates, detector, shift):
    assert rates[detector, shift, 100] == 1


def test_the_rows_of_the_paper_stand_beside_ours(printed):
    assert row(printed, "paper: BBSDs + KS") == ["0.19", "0.28", "0.47"]
    assert row(printed, "paper: UAE + MMD") == ["0.20", "0.27", "0.43"]
    ours = [float(cell) for cell in row(printed, "MMD, aggregate (the default)")]
    higher = [float(cell) for cell in row(printed, "our default - best of paper")]
    assert higher == pytest.approx(np.subtract(ours, [0.20, 0.28, 0.47]), abs=0.011)
    assert "not measured alike" in " ".join(printed.split())


def test_a_batch_of_more_images_than_there_are_is_left_out_and_said(printed, rates):
    assert row(printed, "negatives")[1:] == ["–", "–"]
    assert [rates["ks", "negatives", m] is None for m in (10, 20, 100)] == [False, True, True]
    said = " ".join(printed.split())
    assert "m=10:" not in said
    for m in (20, 100):
        assert f"m={m}: the mean is over 15 of 16 shifts" in said
    assert said.count("too few images for: negatives.") == 2


def test_the_mean_is_over_the_shifts_that_were_measured(printed, rates):
    found = [
        rate for (name, shift, m), rate in rates.items() if (name, m) == ("ks", 20) and shift != "no shift"
    ]

    assert float(row(printed, "KS, softmax outputs")[1]) == pytest.approx(
        np.mean([rate for rate in found if rate is not None]), abs=0.006
    )


def test_the_second_table_is_of_the_detector_that_was_asked_for(printed, rates):
    assert "KS, softmax outputs, by shift" in printed
    shown = [float(cell) for cell in row(printed, "translation, medium")]
    assert shown == pytest.approx([rates["ks", "translation, medium", m] for m in (10, 20, 100)], abs=0.006)


def test_no_line_is_wider_than_a_page(printed):
    assert max(map(len, printed.splitlines())) <= 110


def test_the_same_seed_gives_the_same_tables(measure, measured):
    assert measure() == measured


def test_without_fashion_mnist_it_is_left_out_and_said(model_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", ["http://127.0.0.1:9/"])

    status = main(["--model", str(model_folder), "--data", str(tmp_path), "--runs", "2", "--m", "10"])

    assert status == 0
    printed = capsys.readouterr().out
    said, *rest = printed.splitlines()
    assert said.startswith("Fashion-MNIST could be neither read")
    assert said.endswith("It is left out.")
    assert "Fashion-MNIST" not in " ".join(rest)
    assert row(printed, "Gaussian noise, large")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--runs", "1"], "1 is not at least 2"),
        (["--m", "10", "1"], "1 is not at least 2"),
        (["--m", "1001"], "1001 is more than 1000"),
        (["--detector", "mean"], "invalid choice: 'mean'"),
        (["--json", "nowhere/power.json"], "there is no folder nowhere"),
        (["--ood", "nowhere.npz"], "nowhere.npz is no NumPy file"),
    ],
    ids=lambda case: " ".join(case) if isinstance(case, list) else "",
)
def test_options_that_make_no_sense_end_with_status_2(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arrays",
    [
        {"digits": np.zeros((2, 28, 28), np.uint8)},
        {"images": np.zeros((2, 28, 28))},
        {"images": np.zeros((2, 32, 32), np.uint8)},
        {"images": np.zeros((0, 28, 28), np.uint8)},
        {"images": np.array([None])},
    ],
    ids=["another name", "floats", "another size", "none", "objects"],
)
def test_a_file_of_other_things_than_images_is_refused(arrays, tmp_path, capsys):
    np.savez(tmp_path / "other.npz", **arrays)

    with pytest.raises(SystemExit) as ended:
        main(["--ood", str(tmp_path / "other.npz")])

    assert ended.value.code == 2
    assert "other.npz" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "", "name: [", "name: resnet\nversion: a\nmetadata: {}\n"])
def test_a_folder_without_a_digit_classifier_is_refused(content, tmp_path, capsys):
    if content is not None:
        (tmp_path / "model.yaml").write_text(content)

    status = main(["--model", str(tmp_path)])

    assert status == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_p_values_become_power():
    nan = np.nan
    p_values = np.array([[[0.9], [0.05], [0.01], [nan]], [[0.9], [0.051], [0.01], [0.01]]])  # (runs, S, D)

    power = Power.of(["none", "slight", "strong", "rare"], [10], p_values[:, :, np.newaxis])

    assert power.rates.flatten().tolist() == pytest.approx([0, 0.5, 1, nan], nan_ok=True)
    assert power.means.item() == 0.75  # without the first, which is no shift, and the last
    assert power.standard_errors.item() == pytest.approx(0.25)
    assert power.left_out(0) == ["rare"]

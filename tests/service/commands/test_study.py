"""The study: run as a user runs it, only quickly; its numbers, its pictures and every file of its report."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[3]
OURS = {
    *("MMD, aggregate", "MMD, gaussian", "MMD, exponential", "MMD, rational quadratic"),
    *("KS", "label shift"),
}
FIGURES = {
    *("conditions", "detectors", "reductions"),
    *("power_by_strength", "power_by_size", "score_by_strength"),
}
FOREIGN = "Fashion-MNIST"
pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def study(store, fashion, tmp_path_factory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the study in a process of its own."""
    clothes = tmp_path_factory.mktemp("ood") / f"{FOREIGN}.npy"
    np.save(clothes, fashion)

    def run(out: Path, *options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "drift", "study", "--out", str(out), *map(str, options)]
        command += ["--ood", str(clothes)]
        environment = os.environ | {"BENTOML_HOME": str(store)}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def report(study, tmp_path_factory) -> tuple[Path, str]:
    """The folder of a quick study's report, and what was printed."""
    out = tmp_path_factory.mktemp("study") / "reports"
    finished = study(out, "--quick")
    assert finished.returncode == 0, finished.stderr
    return out, finished.stdout


@pytest.fixture(scope="module")
def table(report) -> pd.DataFrame:
    return pd.read_csv(report[0] / "detectors.csv")


def test_the_report_has_every_file_and_nothing_else(report):
    names = {path.name for path in report[0].iterdir()}

    pictures = {f"{name}.{suffix}" for name in FIGURES for suffix in ("png", "svg")}
    assert names == {"study.html", "study.md", "detectors.csv", "tests.csv"} | pictures


def test_where_nothing_has_drifted_alarms_are_rare(table):
    quiet = table[(table["family"] == "no drift") & table["detector"].isin(OURS)]

    assert set(quiet["detector"]) == OURS
    assert (quiet["alarms"] * quiet["runs"]).sum() / quiet["runs"].sum() < 0.15
    assert quiet["p_value"].min() > 0.05


def test_strong_blur_and_clothes_are_found_by_every_kernel_in_every_run(table):
    strongest = table[table["family"] == "Gaussian blur"]["level"].max()
    strong = table[(table["level"] == strongest) | (table["condition"] == FOREIGN)]
    of_kernels = strong[strong["detector"].str.startswith("MMD")]

    assert set(of_kernels["condition"]) >= {FOREIGN}
    assert len(of_kernels) == 4 * 2 * table["m"].nunique()
    assert (of_kernels["alarms"] == 1).all()


def test_every_detector_was_timed_on_every_condition(table):
    assert set(table["detector"]) == OURS | {"TorchDrift MMD", "TorchDrift KS"}
    assert table.groupby(["condition", "m"])["detector"].nunique().eq(8).all()
    assert (table["seconds"] > 0).all()
    medians = table.groupby("detector")["seconds"].median()
    assert medians["MMD, gaussian"] * 100 < medians["TorchDrift MMD"]


def test_the_page_holds_its_pictures_and_needs_nothing_else(report):
    page = (report[0] / "study.html").read_text()

    assert page.count('src="data:image/png;base64,') == len(FIGURES)
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script" not in page
    assert page.count("<td>no drift</td>") == 2 * 2  # p-values and scores, at two sizes
    assert FOREIGN in page


def test_the_answer_names_a_detector_a_reduction_and_what_is_easier_to_detect(report):
    out, printed = report

    text = " ".join((out / "study.md").read_text().split())
    for answer in (text, " ".join(printed.split())):
        assert re.search(r"separates? best", answer)
        assert re.search(r"shows the drift best", answer)
        assert re.search(rf"The easier to detect is {FOREIGN}, by .+, found from m = 16 on", answer)


def test_the_same_seed_gives_the_same_numbers_and_pictures(study, report, tmp_path):
    again = study(tmp_path / "again", "--quick")

    assert again.returncode == 0
    first, second = (
        pd.read_csv(folder / "tests.csv").drop(columns="seconds")
        for folder in (report[0], tmp_path / "again")
    )
    pd.testing.assert_frame_equal(first, second)
    for name in FIGURES:
        assert (report[0] / f"{name}.png").read_bytes() == (tmp_path / "again" / f"{name}.png").read_bytes()


def test_a_folder_of_images_can_be_studied_too(study, held_out, png, tmp_path):
    """Without labels, and with too few images for the larger size."""
    (tmp_path / "images").mkdir()
    for index, image in enumerate(held_out.images[:180]):
        (tmp_path / "images" / f"{index}.png").write_bytes(png(image))

    finished = study(tmp_path / "out", "--quick", "--runs", "2", tmp_path / "images")

    assert finished.returncode == 0, finished.stderr
    assert set(pd.read_csv(tmp_path / "out" / "detectors.csv")["m"]) == {16}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "none:such"], "bentoml models list"),
        (["--reductions", "magic"], "magic"),
        (["--m", "1900"], "too few"),
        (["--ood-name", "no drift"], "another condition's name"),
    ],
    ids=["model", "reduction", "size", "name"],
)
def test_what_cannot_be_studied_is_said_before_the_work(study, tmp_path, options, message):
    finished = study(tmp_path / "out", *options)

    assert finished.returncode == 2
    assert message in " ".join(finished.stderr.split())
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "out").exists()

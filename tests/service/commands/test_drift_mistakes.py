"""Mistakes of a user of `python -m drift` end with status 2 and a sentence."""

import pytest

from cli.drift import main

OK, ERROR, DRIFT = 0, 2, 3


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
    in_process, features, fit_features, images, arguments, message, capsys
):
    fitted = fit_features("--certificate-share", "0")
    filled = [argument.format(features=features, images=images, fitted=fitted) for argument in arguments]

    status = main(filled)

    assert status == ERROR
    assert message in capsys.readouterr().err
    assert not (features / "r").exists()


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

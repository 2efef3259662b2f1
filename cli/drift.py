"""`python -m drift`: fit a reference, score a batch against it, show how far it can be trusted.

Exit status: 0 no drift, or done; 3 drift; 2 an error, or an image that could not be used; 130 interrupted;
141 nobody reads the output any more.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from cli.terminal import CommandError, exit_status_of, positive, seed
from drift.fitting import Recipe
from drift.two_sample.kernels import CollectionName
from drift.two_sample.mmd import DEFAULT_KERNEL
from serving import __version__

FEWEST_PERMUTATIONS = 19
SAMPLES = "folders of images; image, .npy, .npz, IDX or zip files of them; or .npy and .npz files of features"


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_status_of(lambda: run(parser().parse_args(arguments)))


def run(options: argparse.Namespace) -> int:
    from cli import drift_commands as commands  # BentoML takes seconds to load, and --help does without

    try:
        status: int = getattr(commands, options.command)(options)
    except commands.MISTAKES as error:
        raise CommandError(str(error)) from error
    return status


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m drift", description=__doc__)
    top.add_argument("--version", action="version", version=f"driftbento {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--model", help="in the BentoML store, NAME or NAME:VERSION, that sees the images")
    common.add_argument("--json", action="store_true", help="print what was found as JSON")
    add_fit(commands.add_parser("fit", parents=[common], help="fit a reference on held-out samples"))
    add_score(commands.add_parser("score", parents=[common], help="say whether a batch has drifted"))
    certificate = commands.add_parser(
        "certificate", parents=[common], help="show how often a reference raises an alarm"
    )
    add_reference(certificate)
    add_study(commands.add_parser("study", help="measure what each detector finds, and write a report"))
    return top


def add_fit(fit: argparse.ArgumentParser) -> None:
    fit.add_argument("samples", nargs="+", type=Path, metavar="SAMPLES", help=f"held-out ones: {SAMPLES}")
    fit.add_argument("--out", type=Path, required=True, help="where to write the reference")
    fit.add_argument(
        "--kernel",
        action="append",
        dest="kernels",
        choices=get_args(CollectionName),
        help="of the tests to come; may be given several times (default: all of them)",
    )
    fit.add_argument("--max-batch", type=batch_size, default=Recipe.max_batch, help="(default: %(default)s)")
    fit.add_argument(
        "--n-permutations", type=enough, default=Recipe.n_permutations, help="(default: %(default)s)"
    )
    fit.add_argument(
        "--lengthscale-share",
        type=share,
        default=Recipe.lengthscale_share,
        help="of the samples that only give the lengthscale (default: %(default)s)",
    )
    fit.add_argument(
        "--certificate-share",
        type=share,
        default=Recipe.certificate_share,
        help="of the samples on which false alarms are measured; 0 for no certificate (default: %(default)s)",
    )
    fit.add_argument(
        "--batches", type=positive, default=Recipe.n_batches, help="of the certificate (default: %(default)s)"
    )
    fit.add_argument("--seed", type=seed, default=0, help="of everything random (default: %(default)s)")


def add_score(score: argparse.ArgumentParser) -> None:
    score.add_argument("samples", nargs="+", type=Path, metavar="SAMPLES", help=f"the batch: {SAMPLES}")
    add_reference(score)
    score.add_argument("--detector", default="mmd", help="mmd, ks or label_shift (default: %(default)s)")
    score.add_argument(
        "--kernel",
        choices=get_args(CollectionName),
        help=f"(default: {DEFAULT_KERNEL}, or the first that the reference has)",
    )
    score.add_argument("--alpha", default="0.05", help="significance level (default: %(default)s)")
    score.add_argument("--n-permutations", help="(default: all that the reference holds)")


def add_study(study: argparse.ArgumentParser) -> None:
    study.add_argument(
        "samples",
        nargs="*",
        type=Path,
        metavar="SAMPLES",
        help="held-out images in folders and files (default: those of the model's data set)",
    )
    study.add_argument("--model", default="mnist", help="in the BentoML store (default: %(default)s)")
    study.add_argument("--data", type=Path, default=Path("data"), help="data sets (default: %(default)s)")
    study.add_argument(
        "--ood",
        nargs="+",
        type=Path,
        metavar="IMAGES",
        help="images of something else (default: Fashion-MNIST, downloaded to --data where it can be had)",
    )
    study.add_argument("--ood-name", help="what to call them (default: by their files)")
    study.add_argument(
        "--out", type=Path, default=Path("reports"), help="folder of the report (default: %(default)s)"
    )
    study.add_argument("--m", nargs="+", type=batch_size, help="sizes of batches (default: 16 64 256)")
    study.add_argument("--runs", type=positive, help="how often samples are dealt out anew (default: 20)")
    study.add_argument("--reductions", nargs="+", metavar="NAME", help="(default: all that are installed)")
    study.add_argument("--seed", type=seed, default=0, help="of everything random (default: %(default)s)")
    study.add_argument(
        "--quick", action="store_true", help="fewer sizes, runs, conditions and reductions, in a minute"
    )


def add_reference(command: argparse.ArgumentParser) -> None:
    command.add_argument("--reference", type=Path, help="a file that `fit` wrote (default: the model's own)")


def enough(text: str) -> int:
    number = int(text)
    if number < FEWEST_PERMUTATIONS:
        raise argparse.ArgumentTypeError(
            f"{number} is not at least {FEWEST_PERMUTATIONS}, without which nothing is found at alpha 0.05"
        )
    return number


def share(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{number:g} is no share from 0 to 1")
    return number


def batch_size(text: str) -> int:
    number = int(text)
    if not 2 <= number < 2**15:
        raise argparse.ArgumentTypeError(f"{number} is not from 2 to 32,767")
    return number


if __name__ == "__main__":
    sys.exit(main())

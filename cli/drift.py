"""`python -m drift`: fit a reference, score a batch against it, show how far it can be trusted.

Exit status: 0 no drift, or done; 3 drift; 2 an error, or an image that could not be used; 130 interrupted;
141 nobody reads the output any more.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from cli.terminal import DEFAULT, CommandError, exit_status_of, number_type, positive, seed
from drift.fitting import Recipe
from drift.two_sample.kernels import CollectionName
from drift.two_sample.mmd import DEFAULT_KERNEL
from serving import __version__

enough = number_type(
    "enough", int, 19, math.inf, "not at least 19, without which nothing is found at alpha 0.05"
)
share = number_type("share", float, 0, 1, "no share from 0 to 1")
batch_size = number_type("batch_size", int, 2, 2**15, "not from 2 to 32,767")
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
    add = top.add_subparsers(required=True, metavar="COMMAND", dest="command").add_parser
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--model", help="in the BentoML store, NAME or NAME:VERSION, that sees the images")
    common.add_argument("--json", action="store_true", help="print what was found as JSON")
    add_fit(add("fit", parents=[common], help="fit a reference on held-out samples"))
    add_score(add("score", parents=[common], help="say whether a batch has drifted"))
    add_reference(add("certificate", parents=[common], help="show how often a reference raises an alarm"))
    add_study(add("study", help="measure what each detector finds, and write a report"))
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
    fit.add_argument("--max-batch", type=batch_size, default=Recipe.max_batch, help=DEFAULT)
    fit.add_argument("--n-permutations", type=enough, default=Recipe.n_permutations, help=DEFAULT)
    fit.add_argument(
        "--lengthscale-share",
        type=share,
        default=Recipe.lengthscale_share,
        help=f"of the samples that only give the lengthscale {DEFAULT}",
    )
    fit.add_argument(
        "--certificate-share",
        type=share,
        default=Recipe.certificate_share,
        help=f"of the samples on which false alarms are measured; 0 for no certificate {DEFAULT}",
    )
    fit.add_argument(
        "--batches", type=positive, default=Recipe.n_batches, help=f"of the certificate {DEFAULT}"
    )
    fit.add_argument("--seed", type=seed, default=0, help=f"of everything random {DEFAULT}")


def add_score(score: argparse.ArgumentParser) -> None:
    score.add_argument("samples", nargs="+", type=Path, metavar="SAMPLES", help=f"the batch: {SAMPLES}")
    add_reference(score)
    score.add_argument("--detector", default="mmd", help=f"mmd, ks or label_shift {DEFAULT}")
    score.add_argument(
        "--kernel",
        choices=get_args(CollectionName),
        help=f"(default: {DEFAULT_KERNEL}, or the first that the reference has)",
    )
    score.add_argument("--alpha", default="0.05", help=f"significance level {DEFAULT}")
    score.add_argument("--n-permutations", help="(default: all that the reference holds)")


def add_study(study: argparse.ArgumentParser) -> None:
    study.add_argument(
        "samples",
        nargs="*",
        type=Path,
        metavar="SAMPLES",
        help="held-out images in folders and files (default: those of the model's data set)",
    )
    study.add_argument("--model", default="mnist", help=f"in the BentoML store {DEFAULT}")
    study.add_argument("--data", type=Path, default=Path("data"), help=f"data sets {DEFAULT}")
    study.add_argument(
        "--ood",
        nargs="+",
        type=Path,
        metavar="IMAGES",
        help="images of something else (default: Fashion-MNIST, downloaded to --data where it can be had)",
    )
    study.add_argument("--ood-name", help="what to call them (default: by their files)")
    study.add_argument("--out", type=Path, default=Path("reports"), help=f"folder of the report {DEFAULT}")
    study.add_argument("--m", nargs="+", type=batch_size, help="sizes of batches (default: 16 64 256)")
    study.add_argument("--runs", type=positive, help="how often samples are dealt out anew (default: 20)")
    study.add_argument("--reductions", nargs="+", metavar="NAME", help="(default: all that are installed)")
    study.add_argument("--seed", type=seed, default=0, help=f"of everything random {DEFAULT}")
    study.add_argument(
        "--quick", action="store_true", help="fewer sizes, runs, conditions and reductions, in a minute"
    )


def add_reference(command: argparse.ArgumentParser) -> None:
    command.add_argument("--reference", type=Path, help="a file that `fit` wrote (default: the model's own)")


if __name__ == "__main__":
    sys.exit(main())

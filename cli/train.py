"""`python -m train`: train a model into the BentoML store, archive it for TorchServe, or write digits.

Exit status: 0 done, 2 an error, 130 interrupted, 141 nobody reads the output any more.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.terminal import DEFAULT, OK, CommandError, exit_status_of, number_type, positive, seed
from serving import __version__
from train.architectures import ARCHITECTURES

radius = number_type("radius", float, 0, math.inf, "no radius: take a number from 0")


def main(arguments: Sequence[str] | None = None) -> int:
    return exit_status_of(lambda: run(parser().parse_args(arguments)))


def run(options: argparse.Namespace) -> int:
    from cli import train_commands as commands  # torch takes seconds to load; --help does without

    try:
        getattr(commands, options.command)(options)
    except commands.MISTAKES as error:
        raise CommandError(str(error)) from error
    return OK


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    top.add_argument("--version", action="version", version=f"driftbento {__version__}")
    add = top.add_subparsers(required=True, metavar="COMMAND", dest="command").add_parser
    add_mnist(add("mnist", help="train the digit classifier and save it in the BentoML store"))
    add_resnet(
        add(
            "resnet", help="save torchvision's ResNet, which knows the 1000 classes of ImageNet, in the store"
        )
    )
    add_samples(add("samples", help="write held-out digits, sharp and blurred, as PNG and NumPy files"))
    add_torchserve(add("torchserve", help="make an archive of a model for TorchServe"))
    return top


def add_mnist(mnist: argparse.ArgumentParser) -> None:
    mnist.add_argument("--epochs", type=positive, default=30, help=f"at most {DEFAULT}")
    mnist.add_argument("--seed", type=seed, default=0, help=DEFAULT)
    mnist.add_argument(
        "--no-certificate",
        dest="certificate",
        action="store_false",
        help="do not measure how often drift is found where there is none, and from which blur on it is; "
        "that takes a minute or two",
    )
    mnist.add_argument(
        "--samples",
        type=Path,
        metavar="FOLDER",
        help="write held-out digits there, too, as the command of this name does by default",
    )
    mnist.set_defaults(count=128, blur=2.0)
    add_data(mnist)


def add_resnet(resnet: argparse.ArgumentParser) -> None:
    resnet.add_argument("--arch", choices=ARCHITECTURES, default=ARCHITECTURES[0], help=DEFAULT)
    resnet.add_argument(
        "--weights",
        default="imagenet",
        help="imagenet, which torchvision downloads; a file with a state dict; or random, which recognises "
        f"nothing and is for tests and benchmarks {DEFAULT}",
    )
    resnet.add_argument(
        "--reference",
        nargs="+",
        type=Path,
        default=[],
        metavar="IMAGES",
        help="folders and files of images that drift is measured against, thousands if possible; without "
        "them the model classifies, and answers nothing of drift",
    )
    resnet.add_argument("--seed", type=seed, default=0, help=f"of everything random {DEFAULT}")


def add_samples(samples: argparse.ArgumentParser) -> None:
    samples.add_argument("--out", type=Path, default=Path("samples"), help=DEFAULT)
    samples.add_argument("--count", type=positive, default=128, help=f"of each {DEFAULT}")
    samples.add_argument("--blur", type=radius, default=2.0, help=f"radius in pixels {DEFAULT}")
    add_data(samples)


def add_torchserve(torchserve: argparse.ArgumentParser) -> None:
    torchserve.add_argument(
        "--model", default="mnist", help=f"of the BentoML store: NAME or NAME:VERSION {DEFAULT}"
    )
    torchserve.add_argument(
        "--export-path", type=Path, default=Path("model_store"), help=f"folder of the archive {DEFAULT}"
    )
    torchserve.add_argument("--workers", type=positive, default=1, help=f"processes {DEFAULT}")
    torchserve.add_argument(
        "--batch-size", type=positive, default=8, help=f"requests answered together {DEFAULT}"
    )
    torchserve.add_argument(
        "--max-batch-delay",
        type=positive,
        default=10,
        help=f"milliseconds that they wait for each other {DEFAULT}",
    )


def add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", type=Path, default=Path("data"), help=f"data sets {DEFAULT}")
    command.add_argument(
        "--dataset",
        choices=("auto", "full", "embedded"),
        default="auto",
        help="all of MNIST, 5,000 digits that need no download, or what can be had (%(default)s)",
    )


if __name__ == "__main__":
    sys.exit(main())

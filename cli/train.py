"""`python -m train`: train a model into the BentoML store, archive it for TorchServe, or write digits.

Exit status: 0 done, 2 an error, 130 interrupted, 141 nobody reads the output any more.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.terminal import OK, CommandError, exit_status_of, positive, seed
from serving import __version__
from train.architectures import ARCHITECTURES


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
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")

    add_mnist(
        commands.add_parser("mnist", help="train the digit classifier and save it in the BentoML store")
    )
    add_resnet(
        commands.add_parser(
            "resnet", help="save torchvision's ResNet, which knows the 1000 classes of ImageNet, in the store"
        )
    )
    add_samples(
        commands.add_parser(
            "samples", help="write held-out digits, sharp and blurred, as PNG and NumPy files"
        )
    )
    add_torchserve(commands.add_parser("torchserve", help="make an archive of a model for TorchServe"))
    return top


def add_mnist(mnist: argparse.ArgumentParser) -> None:
    mnist.add_argument("--epochs", type=positive, default=30, help="at most (default: %(default)s)")
    mnist.add_argument("--seed", type=seed, default=0, help="(default: %(default)s)")
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
    resnet.add_argument(
        "--arch",
        choices=ARCHITECTURES,
        default=ARCHITECTURES[0],
        help="(default: %(default)s)",
    )
    resnet.add_argument(
        "--weights",
        default="imagenet",
        help="imagenet, which torchvision downloads; a file with a state dict; or random, which recognises "
        "nothing and is for tests and benchmarks (default: %(default)s)",
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
    resnet.add_argument("--seed", type=seed, default=0, help="of everything random (default: %(default)s)")


def add_samples(samples: argparse.ArgumentParser) -> None:
    samples.add_argument("--out", type=Path, default=Path("samples"), help="(default: %(default)s)")
    samples.add_argument("--count", type=positive, default=128, help="of each (default: %(default)s)")
    samples.add_argument("--blur", type=radius, default=2.0, help="radius in pixels (default: %(default)s)")
    add_data(samples)


def add_torchserve(torchserve: argparse.ArgumentParser) -> None:
    torchserve.add_argument(
        "--model",
        default="mnist",
        help="of the BentoML store: NAME or NAME:VERSION (default: %(default)s)",
    )
    torchserve.add_argument(
        "--export-path",
        type=Path,
        default=Path("model_store"),
        help="folder of the archive (default: %(default)s)",
    )
    torchserve.add_argument("--workers", type=positive, default=1, help="processes (default: %(default)s)")
    torchserve.add_argument(
        "--batch-size", type=positive, default=8, help="requests answered together (default: %(default)s)"
    )
    torchserve.add_argument(
        "--max-batch-delay",
        type=positive,
        default=10,
        help="milliseconds that they wait for each other (default: %(default)s)",
    )


def add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", type=Path, default=Path("data"), help="data sets (default: %(default)s)")
    command.add_argument(
        "--dataset",
        choices=("auto", "full", "embedded"),
        default="auto",
        help="all of MNIST, 5,000 digits that need no download, or what can be had (%(default)s)",
    )


def radius(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{number:g} is no radius: take a number from 0")
    return number


if __name__ == "__main__":
    sys.exit(main())

"""`python -m train`: train a model into the BentoML store, archive it for TorchServe, or write digits."""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from rich.console import Console

from drift.errors import DriftError
from drift.tables import certificate_table
from train.data import load_mnist
from train.errors import TrainingError
from train.mnist import fit_reference, publish_mnist, train_classifier
from train.resnet import ARCHITECTURES, load_network, publish_resnet
from train.torchserve import Workers, archive


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except (TrainingError, DriftError, OSError) as error:
        print("error:", error, file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    mnist = commands.add_parser("mnist", help="train the digit classifier and save it in the BentoML store")
    mnist.add_argument("--epochs", type=positive, default=30, help="at most (default: %(default)s)")
    mnist.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    mnist.add_argument(
        "--no-certificate",
        dest="certificate",
        action="store_false",
        help="do not measure how often drift is found where there is none, and from which blur on it is; "
        "that takes a minute or two",
    )
    mnist.set_defaults(run=train_mnist)

    resnet = commands.add_parser(
        "resnet", help="save torchvision's ResNet, which knows the 1000 classes of ImageNet, in the store"
    )
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
    resnet.add_argument("--seed", type=int, default=0, help="of everything random (default: %(default)s)")
    resnet.set_defaults(run=save_resnet)

    samples = commands.add_parser(
        "samples", help="write held-out digits, sharp and blurred, as PNG and NumPy files"
    )
    samples.add_argument("--out", type=Path, default=Path("samples"), help="(default: %(default)s)")
    samples.add_argument("--count", type=positive, default=128, help="of each (default: %(default)s)")
    samples.add_argument("--blur", type=float, default=2.0, help="radius in pixels (default: %(default)s)")
    samples.set_defaults(run=write_samples)

    torchserve = commands.add_parser("torchserve", help="make an archive of a model for TorchServe")
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
    torchserve.set_defaults(run=write_archive)

    for command in (mnist, samples):
        command.add_argument(
            "--data", type=Path, default=Path("data"), help="data sets (default: %(default)s)"
        )
        command.add_argument(
            "--dataset",
            choices=("auto", "full", "embedded"),
            default="auto",
            help="all of MNIST, 5,000 digits that need no download, or what can be had (%(default)s)",
        )
    return top


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def train_mnist(options: argparse.Namespace) -> None:
    data = load_mnist(options.dataset, options.data)
    model = train_classifier(data, epochs=options.epochs, seed=options.seed)
    reference = fit_reference(model, data, certified=options.certificate)
    tag, accuracy = publish_mnist(model, data, reference, seed=options.seed)
    print(f"Accuracy on {len(data.held_out):,} held-out digits: {accuracy:.2%}")
    if reference.certificate:
        Console().print(certificate_table(reference.certificate))
    print(f"Saved as {tag}")


def save_resnet(options: argparse.Namespace) -> None:
    network, weights = load_network(options.arch, options.weights, seed=options.seed)
    tag = publish_resnet(network, weights, options.reference, seed=options.seed)
    print(f"Saved as {tag}")


def write_archive(options: argparse.Namespace) -> None:
    workers = Workers(options.workers, options.batch_size, options.max_batch_delay)
    tag, path = archive(options.model, options.export_path, workers)
    print(f"Wrote {tag} to {path}")


def write_samples(options: argparse.Namespace) -> None:
    digits = load_mnist(options.dataset, options.data).test
    if options.count > len(digits):
        raise SystemExit(f"error: --count is at most {len(digits)}, the number of held-out digits")
    digits = digits.take(torch.arange(options.count))
    sharp = [Image.fromarray(image.numpy()) for image in digits.images]
    blurred = [image.filter(ImageFilter.GaussianBlur(options.blur)) for image in sharp]
    for name, images in (("digits", sharp), ("blurred", blurred)):
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(images):
            image.save(folder / f"{index:04d}.png")
        np.savez_compressed(
            options.out / f"{name}.npz",
            images=np.stack([np.asarray(image) for image in images]),
            labels=digits.labels,
        )
    # Last, so that whoever finds it finds the rest.
    lines = [f"{index:04d}.png,{label}\n" for index, label in enumerate(digits.labels)]
    (options.out / "labels.csv").write_text("file,label\n" + "".join(lines))
    print(f"Wrote {options.count} held-out digits, and the same digits blurred, to {options.out}")


if __name__ == "__main__":
    sys.exit(main())

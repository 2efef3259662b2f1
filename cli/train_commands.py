"""The commands of `python -m train`: mnist, resnet, samples and torchserve."""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from cli.tables import certificate_table
from cli.terminal import Terminal
from drift.errors import DriftError
from train.data import Digits, load_mnist
from train.errors import TooFewDigitsError, TrainingError
from train.mnist import fit_reference, publish_mnist, train_classifier
from train.torchserve import Workers, archive

MISTAKES = (TrainingError, DriftError)


def mnist(options: argparse.Namespace) -> None:
    data = load_mnist(options.dataset, options.data)
    model = train_classifier(data, epochs=options.epochs, seed=options.seed)
    reference = fit_reference(model, data, certified=options.certificate)
    tag, accuracy = publish_mnist(model, data, reference, seed=options.seed)
    print(f"Accuracy on {len(data.held_out):,} held-out digits: {accuracy:.2%}")
    if reference.certificate:
        Terminal().print(certificate_table(reference.certificate))
    print(f"Saved as {tag}")
    if options.samples:
        write_samples(data.test.take(torch.arange(options.count)), options.samples, blur=options.blur)


def resnet(options: argparse.Namespace) -> None:
    from train.resnet import load_network, publish_resnet  # torchvision takes longer to load than torch

    network, weights = load_network(options.arch, options.weights, seed=options.seed)
    tag = publish_resnet(network, weights, options.reference, seed=options.seed)
    print(f"Saved as {tag}")


def torchserve(options: argparse.Namespace) -> None:
    workers = Workers(options.workers, options.batch_size, options.max_batch_delay)
    tag, path = archive(options.model, options.export_path, workers)
    print(f"Wrote {tag} to {path}")


def samples(options: argparse.Namespace) -> None:
    digits = load_mnist(options.dataset, options.data).test
    if options.count > len(digits):
        raise TooFewDigitsError(f"--count is at most {len(digits)}, the number of held-out digits.")
    write_samples(digits.take(torch.arange(options.count)), options.out, blur=options.blur)


def write_samples(digits: Digits, out: Path, *, blur: float) -> None:
    """Write digits, sharp and blurred by a radius in pixels, as PNG and NumPy files, with their labels."""
    sharp = [Image.fromarray(image.numpy()) for image in digits.images]
    blurred = [image.filter(ImageFilter.GaussianBlur(blur)) for image in sharp]
    for name, images in (("digits", sharp), ("blurred", blurred)):
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(images):
            image.save(folder / f"{index:04d}.png")
        arrays = np.stack([np.asarray(image) for image in images])
        np.savez_compressed(out / f"{name}.npz", images=arrays, labels=digits.labels)
    # The labels come last: where they are, everything is.
    lines = [f"{index:04d}.png,{label}\n" for index, label in enumerate(digits.labels)]
    (out / "labels.csv").write_text("file,label\n" + "".join(lines))
    print(f"Wrote {len(digits)} held-out digits, and the same digits blurred, to {out}")

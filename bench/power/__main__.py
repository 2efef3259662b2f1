"""`python -m bench.power`: how often the drift tests detect shifts of MNIST's digits.

Each run splits the held-out digits anew: a thousand are the reference, all others are shifted and tested in
batches of m. The power of a detector is the share of runs in which its p-value is at most 0.05. Without a
shift, that share must be near 0.05.

It needs the digit classifier in the BentoML store, which `scripts/serve` or `python -m train mnist` puts
there, and uses the data set on which that was trained. Of the 5,000 digits that need no download, a thousand
are left to be shifted. After a knock-out these are too few for m = 1,000, and the cell in the table is empty.

Source:
    Rabanser, Günnemann, Lipton, Failing Loudly (2019, arXiv 1810.11953). The paper's best rows are printed
    beside ours, but are not measured alike: they are means over MNIST and CIFAR-10, over shifts of their own,
    also combined and adversarial ones, and over 10, 50 and 100 % of the images shifted.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from rich.console import Console
from torch import Tensor
from tqdm import tqdm

from bench.power.shifts import every_shift, fetch_fashion, predictor, read_foreign
from bench.power.tables import DEFAULT, DETECTORS, SIZES, Power, as_json, show
from bento import catalogue
from drift import Kernel, Reference, mmd_permutation_test
from drift.two_sample.ks import ks_test
from drift.two_sample.label_shift import label_shift_test
from drift.two_sample.mmd import DEFAULT_KERNEL
from study.conditions import Foreign, Outputs
from train.data import MnistSplits, load_by_name
from train.errors import DatasetUnavailableError
from train.mnist import LENGTHSCALE_DIGITS
from vision.errors import ModelNotLoadedError
from vision.models.classifier import Classifier, load_classifier

MODEL = "mnist"
N_REFERENCE = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        model = load_model(options.model)
        data = load_by_name(str(model.metadata.get("dataset")), options.data)
    except (ModelNotLoadedError, DatasetUnavailableError) as error:
        print("error:", *error.args, file=sys.stderr)
        return 2
    foreign = options.ood or fashion_or_none(options.data)
    power = measure(model, data, foreign, sizes=options.m, runs=options.runs, seed=options.seed)
    console = Console(width=110, highlight=False, markup=False)
    console.print(f"{model.tag}, {data.name}; {options.runs} runs, seed {options.seed}, n={N_REFERENCE}")
    show(power, options.detector, console)
    if options.json:
        facts = {"model": model.tag, "dataset": data.name, "seed": options.seed, "n_reference": N_REFERENCE}
        options.json.write_text(json.dumps(facts | as_json(power), indent=1) + "\n")
    return 0


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m bench.power",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--model", type=Path, metavar="FOLDER", help="in the store (the newest mnist)")
    options.add_argument("--data", type=Path, default=Path("data"), help="data sets (default: %(default)s)")
    options.add_argument(
        "--ood",
        type=read_foreign,
        metavar="FILE.npz",
        help="`images` (N, 28, 28) uint8 to take in place of Fashion-MNIST, which is downloaded to --data",
    )
    options.add_argument("--m", type=batch_size, nargs="+", default=SIZES, help="sizes of the batch")
    options.add_argument("--runs", type=at_least_two, default=20, help="(default: %(default)s)")
    options.add_argument("--seed", type=int, default=0, help="of everything (default: %(default)s)")
    options.add_argument(
        "--detector", choices=DETECTORS, default=DEFAULT, help="shift by shift (default: %(default)s)"
    )
    options.add_argument("--json", type=writable, metavar="FILE", help="write every rate to it")
    return options


def at_least_two(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError(f"{number} is not at least 2")
    return number


def batch_size(text: str) -> int:
    number = at_least_two(text)
    if number > max(SIZES):
        raise argparse.ArgumentTypeError(f"{number} is more than {max(SIZES)}, the most that is measured")
    return number


def writable(text: str) -> Path:
    if not Path(text).parent.is_dir():  # found before the runs, which take long
        raise argparse.ArgumentTypeError(f"there is no folder {Path(text).parent}")
    return Path(text)


def load_model(folder: Path | None) -> Classifier:
    """Return a digit classifier of the store.

    Args:
        folder: Its folder in the store; None for the newest digit classifier.

    Raises:
        ModelNotLoadedError: There is none, or it cannot be used.
    """
    if folder is None:
        return catalogue.load(MODEL)
    try:
        facts = yaml.safe_load((folder / "model.yaml").read_text())
        name, version, metadata = (facts[key] for key in ("name", "version", "metadata"))
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ModelNotLoadedError(f"{folder} is no model of the store: {error}") from error
    if name != MODEL:
        raise ModelNotLoadedError(f"The shifts are of digits, and {name} does not classify digits.")
    return load_classifier(folder, name, version, metadata)


def fashion_or_none(folder: Path) -> Foreign | None:
    """Return Fashion-MNIST; where it cannot be had, say so."""
    try:
        return fetch_fashion(folder)
    except DatasetUnavailableError as error:
        print(*error.args, "It is left out.")
        return None


def measure(
    model: Classifier,
    data: MnistSplits,
    foreign: Foreign | None,
    *,
    sizes: Sequence[int],
    runs: int,
    seed: int,
) -> Power:
    """Return the power of every detector for every shift and batch size.

    In one run, the small batches of a shift are parts of the large ones.
    """
    predict = predictor(model)
    shifts = list(every_shift(predict, data.held_out, foreign, seed=seed))
    training_images = data.train.images[:LENGTHSCALE_DIGITS].unsqueeze(1)
    training_features = Outputs.of(predict, training_images).features
    generator = torch.Generator().manual_seed(seed)
    found = np.full((runs, len(shifts), len(sizes), len(DETECTORS)), np.nan)
    with tqdm(total=runs * len(sizes) * len(shifts), unit="batch") as progress:
        for run in range(runs):
            order = torch.randperm(len(data.held_out), generator=generator)
            run_seed = int(torch.randint(2**31, (), generator=generator))
            sharp = shifts[0].outputs.take(order[:N_REFERENCE])
            reference = fit(sharp, training_features, max(sizes), run_seed)
            drawn = [shift.draw(order[N_REFERENCE:], generator) for shift in shifts]
            for column, m in enumerate(sizes):
                for row, (shift, rows) in enumerate(zip(shifts, drawn, strict=True)):
                    if len(rows) >= m:
                        found[run, row, column] = p_values(reference, shift.outputs.take(rows[:m]), run_seed)
                    progress.update()
    return Power.of([shift.name for shift in shifts], sizes, found)


def fit(sharp: Outputs, training_features: Tensor, max_batch: int, seed: int) -> Reference:
    return Reference.fit(
        sharp.features,
        sharp.probabilities,
        lengthscale_sample=training_features,
        kernels=[DEFAULT_KERNEL],
        max_batch=max_batch,
        seed=seed,
    )


def p_values(reference: Reference, batch: Outputs, seed: int) -> list[float]:
    """Return the p-value of each detector, in the order of DETECTORS."""
    mmd = mmd_permutation_test(reference, batch.features)
    # One of the aggregated kernels is the Gaussian with the reference's own lengthscale.
    plain = Kernel("gaussian", reference.lengthscale)
    (gaussian,) = (found for found in mmd.kernels if found.kernel == plain)
    ks = ks_test(reference.probabilities, batch.probabilities)
    label_shift = label_shift_test(
        reference.probabilities.argmax(dim=1),
        batch.probabilities.argmax(dim=1),
        n_classes=batch.probabilities.shape[1],
        seed=seed,
    )
    by_name = {
        "aggregate": mmd.p_value,
        "gaussian": gaussian.p_value,
        "ks": ks.p_value,
        "label_shift": label_shift.p_value,
    }
    return [by_name[name] for name in DETECTORS]


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())

"""`python -m tests.support.pictures`: measure every kind of picture, and write docs/pictures.md."""

import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import torch
from tqdm import tqdm

from bento import catalogue
from tests.support.pictures.kinds import KINDS
from tests.support.pictures.measure import Outcome, outcome_of
from tests.support.pictures.table import MEASURED, before, markdown
from train.data import Digits, load_by_name
from vision.models.classifier import Classifier

PICTURES = 200


@cache
def model_and_digits() -> tuple[Classifier, Digits]:
    """Return the newest model of digits, and digits that it has not seen; once in each process."""
    torch.set_num_threads(1)
    classifier = catalogue.load("mnist")
    held_out = load_by_name(classifier.metadata["dataset"], Path("data")).test
    return classifier, Digits(held_out.images[:PICTURES], held_out.labels[:PICTURES])


def measure(index: int) -> Outcome:
    return outcome_of(KINDS[index], *model_and_digits())


def main() -> None:
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        found = list(tqdm(processes.map(measure, range(len(KINDS))), total=len(KINDS), unit="kind"))
    names = [kind.name for kind in KINDS]
    MEASURED.write_text(markdown(dict(zip(names, found, strict=True)), before()))


if __name__ == "__main__":
    main()

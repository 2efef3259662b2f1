"""`PYTHONPATH=tests python -m pictures`: measure every kind of picture, and write docs/pictures.md."""

from pathlib import Path

import torch
from tqdm import tqdm

from drift.images import load_model
from pictures.kinds import KINDS
from pictures.measure import outcome_of
from pictures.table import MEASURED, before, markdown
from train.data import Digits, load_by_name

PICTURES = 200


def main() -> None:
    torch.set_num_threads(1)
    classifier = load_model("mnist")
    held_out = load_by_name(classifier.metadata["dataset"], Path("data")).test
    digits = Digits(held_out.images[:PICTURES], held_out.labels[:PICTURES])
    measured = {kind.name: outcome_of(kind, classifier, digits) for kind in tqdm(KINDS, unit="kind")}
    MEASURED.write_text(markdown(measured, before()))


if __name__ == "__main__":
    main()

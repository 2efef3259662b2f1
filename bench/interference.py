"""`python -m bench.interference`: how long /classify takes while others send a thousand images to /drift.

It serves the newest model of the store on a free port, with the settings of the environment. The requests
are made beforehand, and each client sends one after the other. Every row of the table has a service of its
own, so that it does not depend on the row before.
"""

import argparse
import io
import itertools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Column, Table
from tqdm import tqdm

from bench.bodies import png
from bench.load.__main__ import Outcome
from bench.load.senders import Form, measure, percentiles, write_form
from bench.processes import exit_on_signals
from bench.service import require_model, service
from train.data import load_mnist

MODEL = "mnist"
BATCH = 1000  # images in a request to /drift: the most that one may have
COLUMNS = (
    *("clients", "drift clients", "p50", "p99", "max", "requests/s", "errors"),
    *("/drift p50", "/drift max"),
)


def main() -> int:
    options = parser().parse_args()
    exit_on_signals()
    require_model(MODEL)
    table = Table(*(Column(name, justify="right", no_wrap=True) for name in COLUMNS))
    cores = []
    with tempfile.TemporaryDirectory() as folder:
        classify, drift = forms(Path(folder), options.upload)
        for clients, drift_clients in tqdm(list(itertools.product(options.clients, options.drift_clients))):
            with service() as (address, _):
                outcomes = measure(address, {classify: clients, drift: drift_clients}, options.seconds)
            table.add_row(str(clients), str(drift_clients), *cells(outcomes, options.seconds))
            cores.append(sum(outcome.cores for outcome in outcomes))
    console = Console(width=110)
    console.print(table)
    console.print(f"Sending the requests took at most {max(cores):.2f} cores.")
    return 0


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m bench.interference", description=__doc__)
    options.add_argument(
        "--seconds", type=float, default=10, help="that each row measures (default: %(default)s)"
    )
    options.add_argument("--clients", type=int, nargs="+", default=[1, 4], help="of /classify")
    options.add_argument("--drift-clients", type=int, nargs="+", default=[0, 1, 4], help="of /drift")
    options.add_argument(
        "--upload",
        choices=["files", "npz"],
        default="files",
        help=f"send the {BATCH} images of a request to /drift as PNG files, or as one array",
    )
    return options


def forms(folder: Path, upload: str) -> tuple[Form, Form]:
    """Return a form with one digit for /classify, and one with a thousand for /drift."""
    images = load_mnist("embedded", folder).held_out.images[:BATCH].numpy()
    pngs = [(f"{index}.png", png(image), "image/png") for index, image in enumerate(images)]
    archive = io.BytesIO()
    np.savez(archive, images=images)
    batch = pngs if upload == "files" else [("digits.npz", archive.getvalue(), "application/octet-stream")]
    return (
        write_form("/classify", folder / "classify", pngs[:1]),
        write_form("/drift", folder / "drift", batch),
    )


def cells(outcomes: Sequence[Outcome], seconds: float) -> list[str]:
    classify, *drift = outcomes
    return [
        *percentiles(classify, 50, 99, 100),
        f"{len(classify.seconds) / seconds:,.0f}",
        str(sum(outcome.errors for outcome in outcomes)),
        *(cell for outcome in drift for cell in percentiles(outcome, 50, 100)),
    ]


if __name__ == "__main__":
    sys.exit(main())

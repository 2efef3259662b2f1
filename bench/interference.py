"""`python -m bench.interference`: how long /classify takes while others send a thousand images to /drift.

It serves the newest model of the store on a free port, with the settings of the environment, and sends it
requests that were made beforehand, each client one after the other. Every row has a service of its own, so
that none inherits anything from the one before.
"""

import argparse
import io
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Column, Table
from tqdm import tqdm

from bench.bodies import form, png
from bench.load import Outcome
from bench.processes import exit_on_signals, python, running
from bench.service import require_model, service
from train.data import load_mnist

MODEL = "mnist"
BATCH = 1000  # images in a request to /drift, as many as it takes
WARM_UP_SECONDS = 2
COLUMNS = (
    *("clients", "drift clients", "p50", "p99", "max", "requests/s", "errors"),
    *("/drift p50", "/drift max"),
)


@dataclass(frozen=True)
class Form:
    """A request that is ready to be sent.

    Attributes:
        path: The endpoint.
        content_type: With the boundary of the parts.
        body: The file that holds it.
    """

    path: str
    content_type: str
    body: Path


def main() -> int:
    options = parser().parse_args()
    exit_on_signals()
    require_model(MODEL)
    table = Table(*(Column(name, justify="right", no_wrap=True) for name in COLUMNS))
    cores = []
    with tempfile.TemporaryDirectory() as folder:
        classify, drift = forms(Path(folder), options.upload)
        for clients, drifting in tqdm(list(itertools.product(options.clients, options.drift_clients))):
            with service() as (address, _):
                outcomes = measure(address, {classify: clients, drift: drifting}, options.seconds)
            table.add_row(str(clients), str(drifting), *cells(outcomes, options.seconds))
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
        help=f"the {BATCH} images of a request to /drift as so many PNG files, or as one array",
    )
    return options


def forms(folder: Path, upload: str) -> tuple[Form, Form]:
    """Make a request to /classify, of one digit, and one to /drift, of a thousand."""
    images = load_mnist("embedded", folder).held_out.images[:BATCH].numpy()
    pngs = [(f"{index}.png", png(image), "image/png") for index, image in enumerate(images)]
    archive = io.BytesIO()
    np.savez(archive, images=images)
    batch = pngs if upload == "files" else [("digits.npz", archive.getvalue(), "application/octet-stream")]
    return write_form(folder / "classify", pngs[:1]), write_form(folder / "drift", batch)


def write_form(body: Path, files: Sequence[tuple[str, bytes, str]]) -> Form:
    sent = form([("images", file) for file in files], {})
    body.write_bytes(sent.content)
    return Form(f"/{body.name}", sent.content_type, body)


def measure(address: str, clients: dict[Form, int], seconds: float) -> list[Outcome]:
    """Send forms at the same time, each from some clients, and return what became of each that has any."""
    begin = time.monotonic() + WARM_UP_SECONDS
    with ExitStack() as stack:
        senders = [
            stack.enter_context(
                running(send(form, address, count, begin, begin + seconds), stdout=subprocess.PIPE)
            )
            for form, count in clients.items()
            if count
        ]
        return [Outcome(**json.loads(sender.communicate()[0])) for sender in senders]


def send(form: Form, address: str, clients: int, begin: float, end: float) -> list[str]:
    """Return the command that sends a form."""
    flags = {
        "address": address,
        "path": form.path,
        "body": form.body,
        "content-type": form.content_type,
        "clients": clients,
        "begin": begin,
        "end": end,
    }
    return python("bench.load", *(f"--{name}={value}" for name, value in flags.items()))


def cells(outcomes: Sequence[Outcome], seconds: float) -> list[str]:
    classify, *drift = outcomes
    return [
        *percentiles(classify, 50, 99, 100),
        f"{len(classify.seconds) / seconds:,.0f}",
        str(sum(outcome.errors for outcome in outcomes)),
        *(cell for one in drift for cell in percentiles(one, 50, 100)),
    ]


def percentiles(outcome: Outcome, *shares: int) -> list[str]:
    if not outcome.seconds:
        return ["–"] * len(shares)
    return [f"{seconds * 1000:,.1f} ms" for seconds in np.percentile(outcome.seconds, shares)]


if __name__ == "__main__":
    sys.exit(main())

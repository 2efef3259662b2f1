"""`python -m bench.worst_minute`: how much one client with 64 MB of uploads at a time can slow the others.

It serves the newest model of the store on a free port, with the settings of the environment. For a minute,
one client sends the most expensive bodies that are allowed, over several connections. Meanwhile other clients
classify a digit, classify a digit on a large photograph, and test a batch for drift. Every row of the table
has a service of its own.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Column, Table
from tqdm import tqdm

from bench.bodies import encoded, png
from bench.bombs import deep_png, empty_blocks_png
from bench.load.__main__ import Outcome
from bench.load.senders import Form, measure, percentiles, write_form
from bench.processes import exit_on_signals
from bench.service import require_model, service
from train.data import load_mnist

MODEL = "mnist"
BODY = 62 * 2**20  # bytes of image files in a request, which may have 64 MiB in all
BATCH = 32  # digits in the drift test of the other clients
COLUMNS = ("one client sends", "errors", "digit p50", "p99", "max", "photograph max", "/drift max", "memory")
File = tuple[str, bytes, str]


def main() -> int:
    options = parser().parse_args()
    exit_on_signals()
    require_model(MODEL)
    table = Table(*(Column(name, justify="right" if index else "left") for index, name in enumerate(COLUMNS)))
    with tempfile.TemporaryDirectory() as folder:
        others = forms_of_others(Path(folder))
        for name in tqdm(options.attacks or ATTACKS, disable=None):
            form = ATTACKS[name](Path(folder))
            with service() as (address, process):
                clients = dict.fromkeys(others, 1) | ({form: options.connections} if form else {})
                outcomes = measure(address, clients, options.seconds)
                memory = sum(map(peak_memory, process.children(recursive=True)))
            table.add_row(name, *cells(outcomes, memory))
    console = Console(width=130)
    console.print(table)
    return 0


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m bench.worst_minute", description=__doc__)
    options.add_argument(
        "attacks", nargs="*", choices=[*ATTACKS, []], help="what to send, of: " + "; ".join(ATTACKS)
    )
    options.add_argument(
        "--seconds", type=float, default=60, help="that each row measures (default: %(default)s)"
    )
    options.add_argument(
        "--connections", type=int, default=4, help="of the client that attacks (default: %(default)s)"
    )
    return options


def forms_of_others(folder: Path) -> list[Form]:
    """Return the forms that the other clients send: a digit, a photograph of it, and a batch."""
    images = load_mnist("embedded", folder).held_out.images[:BATCH].numpy()
    digits = [(f"{index}.png", png(image), "image/png") for index, image in enumerate(images)]
    photograph = large_photograph(images[0])
    return [
        write_form("/classify", folder / "digit", digits[:1]),
        write_form("/classify", folder / "photograph", [("large.jpg", photograph, "image/jpeg")]),
        write_form("/drift", folder / "batch", digits),
    ]


def large_photograph(digit: np.ndarray) -> bytes:
    """Return a JPEG of a digit on paper, as a telephone takes it: 12 megapixels, with noise."""
    page = np.random.default_rng(0).integers(200, 230, (3000, 4000), dtype=np.uint8)
    ink = np.asarray(Image.fromarray(digit).resize((1400, 1400)))
    page[800:2200, 1300:2700] -= np.minimum(ink, 180)
    return encoded(Image.fromarray(page).convert("RGB"), "JPEG", quality=90)


def huge_pngs() -> list[File]:
    data = deep_png()
    return [("huge.png", data, "image/png")] * (BODY // len(data))


def empty_blocks() -> list[File]:
    return [("empty.png", empty_blocks_png(BODY), "image/png")]


def many_digits() -> list[File]:
    """Return as many large digits as a request may have."""
    page = np.full((400, 400), 230, np.uint8)
    page[100:300, 190:210] = 30
    noise = np.random.default_rng(0).integers(0, 20, page.shape, dtype=np.uint8)
    return [("digit.png", png(page + noise), "image/png")] * min(1000, BODY // 130_000)


def attack(path: str, files: Callable[[], list[File]]) -> Callable[[Path], Form | None]:
    """Return a function that writes the form of an attack into a folder."""
    return lambda folder: write_form(path, folder / "attack", files())


ATTACKS: Mapping[str, Callable[[Path], Form | None]] = {
    "nothing": lambda _: None,
    "huge PNGs, to /classify": attack("/classify", huge_pngs),
    "huge PNGs, to /drift": attack("/drift", huge_pngs),
    "a PNG of empty blocks, to /classify": attack("/classify", empty_blocks),
    "hundreds of digits, to /classify": attack("/classify", many_digits),
    "hundreds of digits, to /drift": attack("/drift", many_digits),
}


def peak_memory(process: psutil.Process) -> int:
    """Return the peak of a process's memory, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def cells(outcomes: list[Outcome], memory: int) -> list[str]:
    digit, photograph, drift, *_ = outcomes
    return [
        str(digit.errors + photograph.errors + drift.errors),
        *percentiles(digit, 50, 99, 100),
        *percentiles(photograph, 100),
        *percentiles(drift, 100),
        f"{memory / 1e6:,.0f} MB",
    ]


if __name__ == "__main__":
    sys.exit(main())

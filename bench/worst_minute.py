"""`python -m bench.worst_minute`: what a single client can do to the others with 64 MB of uploads at a time.

It serves the newest model of the store on a free port, with the settings of the environment. For a minute one
client sends the worst that a body may hold, over several connections. Meanwhile others ask for a digit, for
the digit on a large photograph, and for a drift test. Every row has a service of its own.
"""

import argparse
import io
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

from bench.bodies import png
from bench.bombs import deep_png, empty_blocks_png
from bench.interference import MODEL, Form, measure, percentiles, write_form
from bench.load import Outcome
from bench.processes import exit_on_signals
from bench.service import require_model, service
from train.data import load_mnist

BODY = 62 * 2**20  # bytes: of the 64 MiB that a request may have, what its form leaves
BATCH = 32  # digits in the drift test of the others
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
                memory = sum(map(highest, process.children(recursive=True)))
            table.add_row(name, *cells(outcomes, memory))
    console = Console(width=130)
    console.print(table)
    return 0


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m bench.worst_minute", description=__doc__)
    options.add_argument(
        "attacks", nargs="*", choices=[*ATTACKS, []], help="what to send, of: " + "; ".join(ATTACKS)
    )
    options.add_argument("--seconds", type=float, default=60, help="of each row (default: %(default)s)")
    options.add_argument(
        "--connections", type=int, default=4, help="of the one client (default: %(default)s)"
    )
    return options


def forms_of_others(folder: Path) -> list[Form]:
    images = load_mnist("embedded", folder).held_out.images[:BATCH].numpy()
    digits = [(f"{index}.png", png(image), "image/png") for index, image in enumerate(images)]
    return [
        to("/classify", folder / "digit", digits[:1]),
        to("/classify", folder / "photograph", [("large.jpg", large_photograph(images[0]), "image/jpeg")]),
        to("/drift", folder / "batch", digits),
    ]


def large_photograph(digit: np.ndarray) -> bytes:
    """Return a digit as a telephone's camera takes it: 12 megapixels, with noise, some megabytes."""
    page = np.random.default_rng(0).integers(200, 230, (3000, 4000), dtype=np.uint8)
    ink = np.asarray(Image.fromarray(digit).resize((1400, 1400)))
    page[800:2200, 1300:2700] -= np.minimum(ink, 180)
    stream = io.BytesIO()
    Image.fromarray(page).convert("RGB").save(stream, "JPEG", quality=90)
    return stream.getvalue()


def to(path: str, body: Path, files: list[File]) -> Form:
    form = write_form(body, files)
    return Form(path, form.content_type, body)


def huge_pngs() -> list[File]:
    data = deep_png()
    return [("huge.png", data, "image/png")] * (BODY // len(data))


def empty_blocks() -> list[File]:
    return [("empty.png", empty_blocks_png(BODY), "image/png")]


def many_digits() -> list[File]:
    """As many large digits as a request may have."""
    page = np.full((400, 400), 230, np.uint8)
    page[100:300, 190:210] = 30
    noise = np.random.default_rng(0).integers(0, 20, page.shape, dtype=np.uint8)
    return [("digit.png", png(page + noise), "image/png")] * min(1000, BODY // 130_000)


def attack(path: str, files: Callable[[], list[File]]) -> Callable[[Path], Form | None]:
    return lambda folder: to(path, folder / "attack", files())


ATTACKS: Mapping[str, Callable[[Path], Form | None]] = {
    "nothing": lambda _: None,
    "huge PNGs, to /classify": attack("/classify", huge_pngs),
    "huge PNGs, to /drift": attack("/drift", huge_pngs),
    "a PNG of empty blocks, to /classify": attack("/classify", empty_blocks),
    "hundreds of digits, to /classify": attack("/classify", many_digits),
    "hundreds of digits, to /drift": attack("/drift", many_digits),
}


def highest(process: psutil.Process) -> int:
    """Return the most memory that a process has held, in bytes."""
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

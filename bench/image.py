"""`python -m bench.image IMAGE`: the size of a container image by layer, and the time until it is ready.

The container runs as in production: with a read-only root, no capabilities and 1 GB of memory.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

ENGINES = ("docker", "podman")
AS_IN_PRODUCTION = (
    *("--read-only", "--tmpfs", "/tmp"),  # noqa: S108 - in the container
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "1g"),
)
READY_WITHIN_SECONDS = 120
SMALLEST = 100_000  # bytes; smaller layers share a row


class EngineError(Exception):
    """A command of the container engine failed."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.image", description=__doc__.splitlines()[0])
    parser.add_argument("image", help="the image's name, as `scripts/image` printed it")
    parser.add_argument("--engine", choices=ENGINES, help="(default: the first that works)")
    parser.add_argument("--starts", type=int, default=3, help="number of starts (default: %(default)s)")
    arguments = parser.parse_args()
    starts = tqdm(range(max(1, arguments.starts)), "starting", leave=False, disable=not sys.stderr.isatty())
    try:
        engine = arguments.engine or working_engine()
        layers = layers_of(engine, arguments.image)
        seconds = [seconds_to_ready(engine, arguments.image) for _ in starts]
    except EngineError as error:
        print(f"bench.image: {error}", file=sys.stderr)
        return 2
    show(layers, seconds)
    return 0


def working_engine() -> str:
    """Return the first container engine that works here.

    Raises:
        EngineError: None does.
    """
    for engine in ENGINES:
        with suppress(EngineError):
            ask(engine, "info")
            return engine
    raise EngineError("no container engine works here. Start docker's, or install podman.")


def layers_of(engine: str, image: str) -> list[tuple[int, str]]:
    """Return the size in bytes and the Dockerfile instruction of each layer, from the lowest up."""
    history = ["history", "--human=false", "--no-trunc"]
    if engine == "docker":
        lines = ask(engine, *history, "--format", "{{.Size}}\t{{.CreatedBy}}", image).splitlines()
        rows = [tuple(line.split("\t", 1)) for line in lines]
    else:  # podman rounds sizes in any form but JSON
        layers = json.loads(ask(engine, *history, "--format", "json", image))
        rows = [(layer["size"], layer["CreatedBy"]) for layer in layers]
    return [(int(size), instruction(made_by)) for size, made_by in reversed(rows)]


def instruction(made_by: str) -> str:
    """Return an instruction as a Dockerfile has it, without the engine's prefixes and spaces."""
    words = re.sub(r"^\|\d+ .*?(?=/bin/sh -c )", "", made_by)  # the build arguments
    words = re.sub(r"^/bin/sh -c (#\(nop\) *)?", "", words)
    return " ".join(words.split())


def seconds_to_ready(engine: str, image: str) -> float:
    """Start a container, and return the seconds until it is ready."""
    started = time.monotonic()
    with running(engine, image) as (container, url):
        while True:
            try:
                if httpx.get(f"{url}/readyz", trust_env=False).is_success:
                    return time.monotonic() - started
            except httpx.TransportError:
                pass
            if time.monotonic() > started + READY_WITHIN_SECONDS:
                log = ask(engine, "logs", container)
                raise EngineError(f"not ready within {READY_WITHIN_SECONDS} s:\n{log}")
            time.sleep(0.02)


@contextmanager
def running(engine: str, image: str) -> Iterator[tuple[str, str]]:
    """Run a container, and yield its id and URL."""
    container = ask(engine, "run", "--detach", *AS_IN_PRODUCTION, "--publish", "127.0.0.1::3000", image)
    try:
        yield container, f"http://{ask(engine, 'port', container, '3000').splitlines()[0]}"
    finally:
        ask(engine, "rm", "--force", container)


def ask(engine: str, *arguments: str) -> str:
    """Return what a command of the engine prints.

    Raises:
        EngineError: It fails.
    """
    try:
        finished = subprocess.run([engine, *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise EngineError(f"{engine} cannot be run: {error.strerror}. Install docker or podman.") from error
    if finished.returncode:
        raise EngineError(f"{engine} {arguments[0]}: {finished.stderr.strip()}")
    return finished.stdout.strip()


def show(layers: list[tuple[int, str]], seconds: list[float]) -> None:
    table = Table("MB", "layer")
    large = [(size, made_by) for size, made_by in layers if size >= SMALLEST]
    small = [size for size, _ in layers if 0 < size < SMALLEST]
    for size, made_by in [*large, (sum(small), f"{len(small)} small ones")]:
        table.add_row(f"{size / 1e6:,.1f}", made_by if len(made_by) < 80 else f"{made_by[:79]}…")
    table.add_section()
    table.add_row(f"{sum(size for size, _ in layers) / 1e6:,.0f}", "in all")
    Console().print(table)
    print(f"ready {statistics.median(seconds):.1f} s after its start (median of {len(seconds)})")


if __name__ == "__main__":
    sys.exit(main())

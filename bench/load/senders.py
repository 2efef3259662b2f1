"""Load on a service by processes of `bench.load`, several forms at a time."""

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.bodies import form
from bench.load.__main__ import Outcome
from bench.processes import python, running

WARM_UP_SECONDS = 2


@dataclass(frozen=True)
class Form:
    """A form that is ready to be posted.

    Attributes:
        path: The endpoint.
        content_type: With the boundary of the parts.
        body: The file that holds it.
    """

    path: str
    content_type: str
    body: Path


def write_form(path: str, body: Path, files: Sequence[tuple[str, bytes, str]]) -> Form:
    """Write a form with images to a file.

    Args:
        path: The endpoint.
        body: Where it is written.
        files: Name, content and media type of each image file.
    """
    sent = form([("images", file) for file in files], {})
    body.write_bytes(sent.content)
    return Form(path, sent.content_type, body)


def measure(address: str, clients: Mapping[Form, int], seconds: float) -> list[Outcome]:
    """Return the outcome of each form that has clients, all of them sent at the same time.

    Args:
        address: Host and port of the service.
        clients: How many clients send each form.
        seconds: How long answers count, after a warm-up.
    """
    begin = time.monotonic() + WARM_UP_SECONDS
    with ExitStack() as stack:
        senders = [
            stack.enter_context(
                running(command(form, address, count, begin, begin + seconds), stdout=subprocess.PIPE)
            )
            for form, count in clients.items()
            if count
        ]
        return [Outcome(**json.loads(sender.communicate()[0])) for sender in senders]


def command(form: Form, address: str, clients: int, begin: float, end: float) -> list[str]:
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


def percentiles(outcome: Outcome, *shares: int) -> list[str]:
    """Return table cells with percentiles of the times of good answers."""
    if not outcome.seconds:
        return ["–"] * len(shares)
    return [f"{seconds * 1000:,.1f} ms" for seconds in np.percentile(outcome.seconds, shares)]

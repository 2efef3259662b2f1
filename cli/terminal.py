"""How every command ends: its exit status, and its message where it fails.

Exit status: 2 an error, with a message of a sentence; 130 interrupted; 141 nobody reads the output any more.
"""

import codecs
import math
import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.markup import escape

OK, ERROR, DRIFT, INTERRUPTED, UNREAD = 0, 2, 3, 130, 141  # the last two as shells count signals
DEFAULT = "(default: %(default)s)"  # in the help of an option
AS_ASCII = dict(
    zip("≤≥±×°²σχ–…", ["<=", ">=", "+-", "x", "deg", "^2", "sigma", "chi", "-", "..."], strict=True)
)


class CommandError(Exception):
    """A mistake that the user can mend; its message is a sentence."""


class Terminal(Console):
    """A console that leaves a closed pipe to `exit_status_of`."""

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False, markup: bool = True) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, markup=markup, emoji=False)

    def on_broken_pipe(self) -> None:
        """Raise the error again, where rich would end the process."""
        raise  # noqa: PLE0704 - called where the error is handled


def exit_status_of(command: Callable[[], int]) -> int:
    """Run a command, and return its exit status; a user's mistake never ends in a traceback.

    Args:
        command: Returns its exit status, or raises CommandError, OSError or KeyboardInterrupt.
    """
    prepare_streams()
    try:
        try:
            return command()
        finally:
            flush_output()
    except BrokenPipeError:
        give_up(sys.stderr)  # it may go into the same pipe
        return UNREAD
    except OSError as error:
        print_error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return ERROR
    except CommandError as error:
        print_error(str(error))
        return ERROR
    except KeyboardInterrupt:
        print_error("interrupted")
        return INTERRUPTED


def print_error(sentence: str) -> None:
    Terminal(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(sentence)}")


def flush_output() -> None:
    """Write what is left in the buffer here, where an error can be reported, and not when Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        give_up(sys.stdout)
        raise


def give_up(stream: TextIO) -> None:
    """Let what is left in the buffer go nowhere, since Python would try to write it again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def prepare_streams() -> None:
    """Spell out characters that the output's encoding lacks, and write nowhere where it is closed."""
    codecs.register_error("as_ascii", as_ascii)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - to the end
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="as_ascii")


def as_ascii(error: UnicodeError) -> tuple[str, int]:
    """Return the replacement of characters that an encoding lacks, as an error handler of codecs does."""
    assert isinstance(error, UnicodeEncodeError)
    characters = error.object[error.start : error.end]
    plain = (AS_ASCII.get(one) or one.encode("ascii", "backslashreplace").decode() for one in characters)
    return "".join(plain), error.end


def number_type(
    name: str, kind: type[float], least: float, below: float, mistake: str
) -> Callable[[str], float]:
    """Return the type of an option that is a number in a range; argparse shows its name, and the mistake."""

    def parse(text: str) -> float:
        number = kind(text)
        if not least <= number < below:
            raise ArgumentTypeError(f"{number:g} is {mistake}" if kind is float else f"{number} is {mistake}")
        return number

    parse.__name__ = name
    return parse


positive = number_type("positive", int, 1, math.inf, "not at least 1")
seed = number_type("seed", int, 0, 2**32, f"not from 0 to {2**32 - 1}")  # as NumPy and torch both take it

"""What the commands have in common: how they end, and what they say where they do not end well.

Exit status: 2 an error, said in a sentence; 130 interrupted; 141 nobody reads the output any more.
"""

import codecs
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
AS_ASCII = dict(
    zip("≤≥±×°²σχ–…", ["<=", ">=", "+-", "x", "deg", "^2", "sigma", "chi", "-", "..."], strict=True)
)


class CommandError(Exception):
    """Something the user can mend, said in a sentence."""


class Terminal(Console):
    """A console that leaves it to `ended` what to do when its pipe is closed."""

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False, markup: bool = True) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, markup=markup, emoji=False)

    def on_broken_pipe(self) -> None:
        """Let the error go on, which rich calls this for, and which it would end the process at."""
        raise  # noqa: PLE0704 - called where the error is handled


def ended(command: Callable[[], int]) -> int:
    """Run a command, and return its exit status; what a user does or can mend never ends in a traceback.

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
        give_up(sys.stderr)  # which may go into the same pipe
        return UNREAD
    except (CommandError, OSError) as error:
        complain(said(error))
        return ERROR
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED


def said(error: Exception) -> str:
    """Return what whoever made a mistake should read of it."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def complain(sentence: str) -> None:
    Terminal(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(sentence)}")


def flush_output() -> None:
    """Write what is still to be written: here, where an error can be said, and not when Python ends.

    Raises:
        OSError: It cannot be written.
    """
    try:
        sys.stdout.flush()
    except OSError:
        give_up(sys.stdout)
        raise


def give_up(stream: TextIO) -> None:
    """Let what is still to be written go nowhere, so that Python does not try it again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def prepare_streams() -> None:
    """Let output be written whatever its encoding, and to nowhere where it is closed."""
    codecs.register_error("as_ascii", as_ascii)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - to the end
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="as_ascii")


def as_ascii(error: UnicodeError) -> tuple[str, int]:
    """Return what to write for characters that an encoding does not have, as codecs ask for it."""
    assert isinstance(error, UnicodeEncodeError)
    characters = error.object[error.start : error.end]
    plain = (AS_ASCII.get(one) or one.encode("ascii", "backslashreplace").decode() for one in characters)
    return "".join(plain), error.end


def positive(text: str) -> int:
    """Return the whole number that an option is, if it is at least 1."""
    number = int(text)
    if number < 1:
        raise ArgumentTypeError(f"{number} is not at least 1")
    return number


def seed(text: str) -> int:
    """Return the whole number that an option is, if every source of random numbers takes it."""
    number = int(text)
    if not 0 <= number < 2**32:
        raise ArgumentTypeError(f"{number} is not from 0 to {2**32 - 1}")
    return number

"""Progress: a bar on a terminal, whole lines in a log, and not too many of either."""

import io
import sys

import pytest

from drift import progress
from drift.progress import followed, steps


@pytest.fixture
def at_once(monkeypatch) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0)


@pytest.mark.usefixtures("at_once")
def test_a_log_gets_whole_lines(capsys):
    assert list(followed("abc", "letters", 3)) == ["a", "b", "c"]

    assert capsys.readouterr().err == "letters: 1 of 3\nletters: 2 of 3\nletters: 3 of 3\n"


@pytest.mark.usefixtures("at_once")
def test_work_of_unknown_length_is_counted_too(capsys):
    with steps("letters", None) as step:
        step()

    assert capsys.readouterr().err == "letters: 1\n"


def test_a_log_gets_no_line_soon_after_another_whatever_the_work(capsys, monkeypatch):
    clock = iter([1.0, 2.0, 11.0, 12.0, 13.0, 30.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress.Log, "printed_at", 0.0)

    list(followed("abc", "first", 3))
    list(followed("abc", "second", 3))

    assert capsys.readouterr().err == "first: 3 of 3\nsecond: 3 of 3\n"


def test_nothing_is_shown_unless_it_is_asked_for(capsys):
    assert list(followed("abc", "letters", 3, progress=False)) == ["a", "b", "c"]

    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_that_goes_when_the_work_is_done(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)

    list(followed("abc", "letters", 3))

    assert "letters:   0%" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")

"""What the tests have trained: made once, kept, and made anew when the code that trains it changes."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import trained


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """By which code each of the trainings was made that the tests asked for."""
    made = list[str]()

    def train(folder: Path, _) -> None:
        made.append(trained.made_by())
        (folder / "model").write_text(made[-1])

    monkeypatch.setattr(trained, "MAKERS", {"model": train})
    return made


def test_a_training_is_kept_until_its_code_changes(made, monkeypatch, tmp_path):
    cache = SimpleNamespace(mkdir=lambda _: tmp_path)

    for code in ("before", "before", "after"):
        monkeypatch.setattr(trained, "made_by", lambda code=code: code)
        folder = trained.trained_folder("model", cache)
        assert (folder / "model").read_text() == code

    assert made == ["before", "after"]
    assert [one.name for one in tmp_path.glob("model-*")] == ["model-after"]


def test_a_training_that_fails_leaves_nothing_that_looks_like_one(monkeypatch, tmp_path):
    cache = SimpleNamespace(mkdir=lambda _: tmp_path)
    monkeypatch.setattr(trained, "MAKERS", {"model": lambda folder, _: folder.rmdir()})

    with pytest.raises(FileNotFoundError):
        trained.trained_folder("model", cache)

    assert list(tmp_path.glob("model-*")) == []

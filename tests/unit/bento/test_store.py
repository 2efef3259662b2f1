"""The model store: what is looked up in it, and what is not this project's."""

from collections.abc import Iterator
from pathlib import Path

import bentoml
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from bento import store


@pytest.fixture(autouse=True)
def models(tmp_path) -> Iterator[Path]:
    """The folder of an empty store."""
    folder = tmp_path / "models"
    folder.mkdir()
    BentoMLContainer.model_store.set(ModelStore(folder))
    yield folder
    BentoMLContainer.model_store.reset()


def add(name: str) -> str:
    with store.adding(name) as new:
        (new.folder / "labels.json").write_text("[]")
        new.metadata["accuracy"] = 0.5
    return new.tag


def add_half(name: str) -> None:
    with store.adding(name) as new:
        (new.folder / "model.pt").write_text("half")
        raise RuntimeError("half")


def add_foreign(name: str) -> None:
    with bentoml.models.create(name):
        pass


def test_a_model_that_was_added_is_found_by_its_name_and_by_its_version():
    tag = add("mine")

    by_name, by_version = store.find("mine"), store.find(tag)

    assert by_name == by_version
    assert by_name.tag == tag
    assert by_name.metadata == {"accuracy": 0.5}
    assert (by_name.folder / "labels.json").read_text() == "[]"


def test_the_newest_version_of_each_model_is_served_whatever_its_name():
    add("mine")
    newest = {add("mine"), add("other")}

    found, damaged = store.newest()

    assert {model.tag for model in found} == newest
    assert damaged == {}


def test_a_model_that_is_not_this_projects_is_not_found():
    add_foreign("foreign")

    with pytest.raises(store.NoSuchModelError, match="'foreign' was not made by this project"):
        store.find("foreign")
    assert store.newest() == ([], {})


@pytest.mark.parametrize("tag", ["none", "mine:none", "no name at all!"])
def test_a_model_that_is_not_there_is_not_found(tag):
    add("mine")

    with pytest.raises(store.NoSuchModelError, match="The model store holds no"):
        store.find(tag)


@pytest.mark.parametrize("file", ["*/model.yaml", "latest"])
def test_a_model_that_cannot_be_read_keeps_none_of_the_others_from_being_found(models, file):
    add("mine")
    add("damaged")
    (path,) = models.glob(f"damaged/{file}")
    path.write_bytes(b"\xff")

    found, damaged = store.newest()

    assert [model.name for model in found] == ["mine"]
    assert list(damaged) == ["damaged"]
    assert "model.yaml of damaged" in str(damaged["damaged"])


def test_what_is_not_added_to_its_end_leaves_the_store_as_it_was(models):
    tag = add("mine")

    with pytest.raises(RuntimeError, match="half"):
        add_half("mine")

    assert store.find("mine").tag == tag
    assert [folder.name for folder in models.iterdir()] == ["mine"]
    assert list(models.parent.iterdir()) == [models]

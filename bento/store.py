"""BentoML's model store: the one place where this project's models are looked up and added.

It imports nothing of ours, so that training can use it as well as the service. What lies in a model's folder
is the business of vision/models/bundle.py.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bentoml
from bentoml._internal.configuration.containers import BentoMLContainer  # the store's path has no public name
from bentoml._internal.models import ModelStore  # nor has a store other than the default one
from bentoml.exceptions import BentoMLException, NotFound

LABELS = {"project": "driftbento"}  # of every model that is this project's, whatever its name


class NoSuchModelError(Exception):
    """The store holds no model of this project under a name."""


class DamagedModelError(Exception):
    """What the store says of a model cannot be read."""


@dataclass(frozen=True)
class StoredModel:
    """A model of the store.

    Attributes:
        name: Its name.
        version: Its version.
        folder: Where its files are.
        metadata: What is known of it. Until it is added, more can be put in.
    """

    name: str
    version: str
    folder: Path
    metadata: dict[str, Any]

    @property
    def tag(self) -> str:
        return f"{self.name}:{self.version}"


def location() -> Path:
    """Return the folder of the store."""
    return Path(BentoMLContainer.model_store.get()._path)


def find(tag: str) -> StoredModel:
    """Return a model of the store.

    Args:
        tag: Its name, which stands for its newest version, or name:version.

    Raises:
        NoSuchModelError: The store has none, or one that is not this project's.
        DamagedModelError: What the store says of it cannot be read.
    """
    none = NoSuchModelError(f"The model store holds no {tag!r}.")
    try:
        named = bentoml.Tag.from_taglike(tag)
    except (BentoMLException, ValueError) as error:
        raise none from error
    try:
        entry = bentoml.models.get(named)
    except NotFound as error:
        raise none from error
    except Exception as error:  # BentoML has no type for what it finds in files that are damaged
        raise DamagedModelError(
            f"model.yaml of {named.name}, or the file that names its latest version, is missing or damaged."
        ) from error
    if not LABELS.items() <= dict(entry.info.labels).items():
        raise NoSuchModelError(f"The model store's {tag!r} was not made by this project.")
    return StoredModel(entry.tag.name, str(entry.tag.version), Path(entry.path), dict(entry.info.metadata))


def newest() -> tuple[list[StoredModel], dict[str, DamagedModelError]]:
    """Return the newest version of each model, and by name those that cannot be looked up.

    A model that cannot be looked up counts as this project's: nothing says that it is not.
    """
    found, damaged = list[StoredModel](), dict[str, DamagedModelError]()
    for name in sorted(folder.name for folder in location().iterdir() if folder.is_dir()):
        with suppress(NoSuchModelError):
            try:
                found.append(find(name))
            except DamagedModelError as error:
                damaged[name] = error
    return found, damaged


@contextmanager
def adding(name: str) -> Iterator[StoredModel]:
    """Give a new version of a model, whose folder is to be filled.

    It appears under its name in one rename, once every file is written: whoever is killed meanwhile leaves
    the store as it was.
    """
    store = location()
    with tempfile.TemporaryDirectory(prefix=".adding-", dir=store.parent) as beside:
        staging = ModelStore(beside)
        with bentoml.models.create(name, labels=LABELS, _model_store=staging) as entry:
            new = StoredModel(name, str(entry.tag.version), Path(entry.path), {})
            yield new
            entry.info.metadata.update(new.metadata)
        let_anybody_read(Path(beside) / name / new.version)
        (store / name).mkdir(parents=True, exist_ok=True)
        os.rename(Path(beside) / name / new.version, store / name / new.version)
        os.replace(Path(beside) / name / "latest", store / name / "latest")


def let_anybody_read(folder: Path) -> None:
    """Open what was written for its maker alone: an image holds it as it is, and any user may serve that."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)

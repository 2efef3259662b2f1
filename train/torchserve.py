"""A model of the store as an archive for TorchServe, which answers as the service does.

The archive holds the very TorchScript of the store, and with the handler those of the service's modules that
it imports, so that both make pictures into the model's input by the same code.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from modulefinder import ModuleFinder
from pathlib import Path

from bento import store
from train.errors import ArchiveError
from vision.models import bundle

ROOT = Path(__file__).parent.parent
HANDLER = ROOT / "deploy" / "torchserve" / "handler.py"
TRAINED = ("mnist", "resnet")
INSTALL = "python -m pip install torchserve torch-model-archiver pyyaml"


@dataclass(frozen=True)
class Workers:
    """How TorchServe runs a model, as the archive tells it.

    Attributes:
        count: Processes.
        batch_size: Requests that one of them answers at a time, at most.
        max_batch_delay: Milliseconds that a batch waits for more requests.
    """

    count: int
    batch_size: int
    max_batch_delay: int


def archive(tag: str, export_path: Path, workers: Workers) -> tuple[str, Path]:
    """Write a model's archive, and return the model's name:version and the archive's path.

    An archive of the same name is replaced in one rename, once the new one is complete.

    Args:
        tag: The model's name, or name:version; a name alone stands for its newest version.
        export_path: Folder of the archive, TorchServe's model store; it is made where there is none.
        workers: How TorchServe is to run it.

    Raises:
        ArchiveError: torch-model-archiver or the model is missing, or the archive cannot be written.
    """
    if importlib.util.find_spec("model_archiver") is None:
        raise ArchiveError(f"torch-model-archiver is not installed. Run `{INSTALL}`.")
    try:
        model = store.find(tag)
    except (store.NoSuchModelError, store.DamagedModelError) as error:
        mend = (
            f"Run `python -m train {tag}`" if tag in TRAINED else "`bentoml models list` shows what there is"
        )
        raise ArchiveError(f"{error} {mend}.") from error
    try:
        export_path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".archiving-", dir=export_path) as beside:
            staging = Path(beside)
            stage(staging, model.folder, model.metadata, workers)
            run_archiver(staging, model.name, model.version, model.folder / bundle.SCRIPT)
            archived = export_path / f"{model.name}.mar"
            os.replace(staging / "out" / archived.name, archived)
    except OSError as error:
        raise ArchiveError(f"No archive could be written to {export_path}: {error}.") from error
    return model.tag, archived


def stage(staging: Path, model: Path, metadata: Mapping[str, object], workers: Workers) -> None:
    """Lay out what goes into an archive beside the model: in `extra`, what the archiver takes as it is."""
    for folder in ("extra", "out", "tmp"):
        (staging / folder).mkdir()
    for source in modules_of(HANDLER):
        copied = staging / "extra" / source.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copied)
    labels = bundle.read_labels(model)
    (staging / "extra" / "index_to_name.json").write_text(json.dumps(index_to_name(labels)))
    config = {
        "minWorkers": workers.count,
        "maxWorkers": workers.count,
        "batchSize": workers.batch_size,
        "maxBatchDelay": workers.max_batch_delay,
        "metadata": metadata,
    }
    (staging / "model-config.yaml").write_text(json.dumps(config))  # which is YAML too


def modules_of(program: Path) -> list[Path]:
    """Return the files of this project that a program imports, and those that they import."""
    finder = ModuleFinder(path=[str(ROOT)])
    finder.run_script(str(program))
    return [
        Path(module.__file__)  # type: ignore[attr-defined]  # a class of modulefinder's, which has it
        for name, module in finder.modules.items()
        if name != "__main__"
    ]


def index_to_name(labels: Sequence[str]) -> dict[str, str]:
    """Return the class names by index, as TorchServe's handlers take them.

    Answers are keyed by name, so that a name that several classes share is followed by the index.
    """
    counts = Counter(labels)
    return {
        str(index): label if counts[label] == 1 else f"{label} ({index})"
        for index, label in enumerate(labels)
    }


def run_archiver(staging: Path, name: str, version: str, script: Path) -> None:
    arguments = {
        "--model-name": name,
        "--version": version,
        "--serialized-file": str(script.absolute()),
        "--handler": str(HANDLER),
        "--extra-files": "extra",
        "--config-file": "model-config.yaml",
        "--export-path": "out",
    }
    finished = subprocess.run(
        [sys.executable, "-m", "model_archiver.model_packaging", *chain(*arguments.items())],
        cwd=staging,
        # It empties the folder of the model's name among the temporary files, whosever that is.
        env=os.environ | {"TMPDIR": str((staging / "tmp").absolute())},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        reason = (finished.stderr.strip() or "it did not say why").splitlines()[-1]
        raise ArchiveError(f"torch-model-archiver failed: {reason}")

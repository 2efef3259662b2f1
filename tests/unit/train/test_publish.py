"""Publishing: what lies in the store afterwards, also when it was interrupted."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from drift import Reference
from tests.support.homes import on_small_disk

ROOT = Path(__file__).parents[3]
PUBLISH = """
import torch
from torch import nn
from train import publish
from vision.models import bundle

class Model(nn.Module):
    def forward(self, images: torch.Tensor):
        return images.float().mean(dim=[1, 2, 3]).unsqueeze(1), images.float().flatten(1)

{before}
print(publish.publish("toy", Model(), labels=["only"], reference=None,
    golden_images=torch.zeros(2, 1, 4, 4, dtype=torch.uint8), metadata={{"dataset": "none"}}))
"""
DIE_WHILE_WRITING = """
import os, signal
bundle.save_file = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""
FAIL_WHILE_WRITING = """
def fail(*_):
    raise OSError("disk full")
bundle.save_file = fail
"""


def publish(
    home: Path, before: str = "", under: Sequence[str] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    """Publish a toy model in a process of its own, which something may befall before it is done."""
    program = home.parent / f"publish_{home.name}.py"  # TorchScript needs the source in a file
    program.write_text(PUBLISH.format(before=before))
    environment = os.environ | {"BENTOML_HOME": str(home), "PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(
        [*under, sys.executable, str(program)],
        env=environment,
        capture_output=True,
        text=True,
        check=not (before or under),
    )


def listed(home: Path) -> list[str]:
    """What BentoML itself says is in the store."""
    command = [sys.executable, "-m", "bentoml", "models", "list", "--output", "json"]
    environment = os.environ | {"BENTOML_HOME": str(home)}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return [model["tag"] for model in json.loads(output)]


def test_the_store_holds_all_files_of_the_contract(model_folder):
    assert {path.name for path in model_folder.iterdir()} == {
        "model.yaml",
        "model.pt",
        "labels.json",
        "reference.safetensors",
        "golden.safetensors",
    }
    assert json.loads((model_folder / "labels.json").read_text()) == list("0123456789")
    assert len(Reference.load(model_folder / "reference.safetensors")) == 1000
    assert set(load_file(model_folder / "golden.safetensors")) == {"images", "logits", "features"}


def test_the_reference_is_the_held_out_part_that_is_kept_for_it(model_folder, splits):
    script = torch.jit.load(str(model_folder / "model.pt"))
    with torch.inference_mode():
        logits, features = script(splits.reference.images.unsqueeze(1))

    reference = Reference.load(model_folder / "reference.safetensors")

    torch.testing.assert_close(reference.features, features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(reference.probabilities, logits.softmax(1), rtol=1e-4, atol=1e-4)


def test_the_metadata_says_where_the_model_comes_from(model_folder):
    metadata = yaml.safe_load((model_folder / "model.yaml").read_text())["metadata"]

    assert 0 < metadata["accuracy"] <= 1
    assert metadata["accuracy_on"] == "2000 held-out digits"
    assert metadata["torch"] == str(torch.__version__)
    checksums = {
        key.removesuffix("_sha256"): value for key, value in metadata.items() if key.endswith("_sha256")
    }
    files = {"weights": "model.pt", "golden": "golden.safetensors", "labels": "labels.json"}
    files["reference"] = "reference.safetensors"
    assert checksums == {
        what: hashlib.sha256((model_folder / file).read_bytes()).hexdigest() for what, file in files.items()
    }
    assert {"dataset", "training_images", "image_size", "weights", "commit", "date"} <= set(metadata)


def test_any_user_can_read_a_published_model(tmp_path):
    """In an image it may be another than the one who trained it."""
    publish(tmp_path)

    (folder,) = tmp_path.glob("models/toy/*/")
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_a_published_model_is_listed_and_the_latest(tmp_path):
    first = publish(tmp_path).stdout.strip()
    second = publish(tmp_path).stdout.strip()

    assert set(listed(tmp_path)) == {first, second}
    assert f"toy:{(tmp_path / 'models/toy/latest').read_text()}" == second


def test_a_machine_without_git_can_publish(tmp_path):
    tag = publish(tmp_path, PATH="").stdout.strip()

    (model,) = tmp_path.glob("models/toy/*/model.yaml")
    assert tag == f"toy:{model.parent.name}"
    assert yaml.safe_load(model.read_text())["metadata"]["commit"] == "unknown"


@pytest.mark.parametrize(
    ("interruption", "status"),
    [
        pytest.param(DIE_WHILE_WRITING, -signal.SIGKILL, id="killed"),
        pytest.param(FAIL_WHILE_WRITING, 1, id="failed"),
    ],
)
def test_an_interrupted_publication_leaves_the_store_as_it_was(tmp_path, interruption, status):
    before = publish(tmp_path).stdout.strip()

    interrupted = publish(tmp_path, interruption)

    assert interrupted.returncode == status
    assert listed(tmp_path) == [before]
    assert [path.name for path in (tmp_path / "models/toy").iterdir() if path.is_dir()] == [
        before.partition(":")[2]
    ]


def test_a_store_without_room_for_a_model_keeps_none_of_it_and_the_error_says_so(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    look = ["sh", "-c", '"$@"; status=$?; find "$BENTOML_HOME" -type f; exit $status', "sh"]

    failed = publish(home, under=[*on_small_disk(home, "16k"), *look])

    assert failed.returncode == 1
    assert f"NoRoomError: There is no room for the model in {home}/models" in failed.stderr
    assert failed.stdout == ""


def test_a_model_for_which_there_is_no_room_where_it_is_made_leaves_the_store_as_it_was(tmp_path):
    home, small = tmp_path / "home", tmp_path / "small"
    home.mkdir()
    small.mkdir()
    before = publish(home).stdout.strip()
    mounted = ["env", f"BENTOML_HOME={small}", *on_small_disk(small, "8k"), "env", f"BENTOML_HOME={home}"]

    failed = publish(home, under=mounted, TMPDIR=str(small))

    assert failed.returncode == 1
    assert "NoRoomError: There is no room for the model" in failed.stderr
    assert listed(home) == [before]

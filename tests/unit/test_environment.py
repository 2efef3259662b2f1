"""scripts/environment: which packages it installs, for whom, and what it does where they cannot be had."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.txt", "requirements-train.txt", "requirements-dev.txt", "deploy/image/uv.txt")
INSTALLER = """#!/bin/sh
echo "$(basename "$0") $*" >>"$LOG"
for refused in $REFUSED; do case "$(basename "$0") $*" in *$refused*) exit 1 ;; esac; done
"""
PYTHON = f"""#!/bin/sh
case "$*" in
  *venv*)
    for folder in "$@"; do :; done
    rm -rf "$folder"
    mkdir -p "$folder/bin"
    for tool in python uv; do
      cat >"$folder/bin/$tool" <<'INSTALLER'
{INSTALLER}INSTALLER
      chmod +x "$folder/bin/$tool"
    done
    ;;
esac
"""
Source = Callable[..., list[str]]


@pytest.fixture
def source(tmp_path) -> Source:
    """Return a function that sources the script, and gives the installations that this has started."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python3.11").write_text(PYTHON)
    (tools / "python3.11").chmod(0o755)
    for name in (*LOCKS, "scripts/environment"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    log = tmp_path / "log"

    def run(needs: str = "", *, refused: Sequence[str] = (), **variables: str) -> list[str]:
        log.write_text("")
        left_out = {"VENV", "TORCH_BACKEND", "needs"}
        kept: Mapping[str, str] = {name: value for name, value in os.environ.items() if name not in left_out}
        path = f"{tools}{os.pathsep}{kept['PATH']}"
        own = {"LOG": str(log), "REFUSED": " ".join(refused), "PATH": path, "needs": needs}
        command = ["sh", "-eu", "-c", ". scripts/environment"]
        subprocess.run(command, cwd=tmp_path, env={**kept, **own, **variables}, check=True)
        return log.read_text().splitlines()

    return run


def test_serving_takes_the_images_own_lock_with_the_cpu_build_and_no_other_package(source):
    bring_uv, install = source("serving")

    assert bring_uv.endswith("-r deploy/image/uv.txt")
    assert install.startswith("uv pip install")
    assert "--torch-backend=cpu --no-deps -r requirements.txt -r requirements-train.txt" in install


def test_everything_else_takes_all_packages(source):
    _, install = source()

    assert install.startswith("uv pip install")
    assert install.endswith("-r requirements-dev.txt")
    assert "--torch-backend" not in install


@pytest.mark.parametrize("needs", ["serving", ""], ids=["serving", "development"])
def test_every_package_is_checked_against_its_hash(source, needs):
    installations = source(needs) + source(needs, refused=["uv"], VENV="other")

    assert len(installations) == 4
    assert all("--require-hashes" in line for line in installations)


@pytest.mark.parametrize("needs", ["serving", ""], ids=["serving", "development"])
def test_an_environment_that_is_there_is_taken_as_it_is(source, needs):
    source(needs)

    assert source(needs) == []


def test_serving_takes_the_development_environment_where_that_is_there(source):
    source()

    assert source("serving") == []


def test_an_environment_for_serving_is_made_anew_for_what_needs_more(source):
    source("serving")

    assert source()[-1].endswith("-r requirements-dev.txt")
    assert source("serving") == []


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-train.txt"])
def test_a_lock_that_has_changed_makes_the_environment_anew(source, tmp_path, lock):
    source("serving")
    (tmp_path / lock).write_text("# another\n")

    assert len(source("serving")) == 2


def test_an_interrupted_installation_starts_anew(source, tmp_path):
    source("serving")
    (tmp_path / ".venv" / "requirements.txt").unlink()

    assert len(source("serving")) == 2


def test_pip_installs_for_serving_what_uv_does_not_find(source):
    installations = source("serving", refused=["uv*torch-backend"])

    assert installations[-1].startswith("python -m pip install")
    assert installations[-1].endswith("--no-deps -r requirements.txt -r requirements-train.txt")


def test_where_the_cpu_build_cannot_be_had_serving_takes_all_packages(source):
    installations = source("serving", refused=["no-deps"])

    assert installations[-1].endswith("-r requirements-dev.txt")
    assert source("serving") == []


def test_pytorchs_own_index_can_be_left_alone(source):
    assert "--torch-backend" not in source("serving", TORCH_BACKEND="")[-1]


def test_the_lock_of_training_is_part_of_the_development_lock():
    locked = (ROOT / "requirements-dev.txt").read_text()
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements-train.txt").read_text().rstrip())

    packages = [entry for entry in entries if not entry.startswith("#")]
    assert [entry.partition("==")[0] for entry in packages] == ["lazy-loader", "mlxtend", "scikit-image"]
    assert all(entry in locked for entry in packages)

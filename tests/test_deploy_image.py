"""What makes the image: the slimming of its packages, its health check, and the script that builds it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest

from deploy.image import slim

ROOT = Path(__file__).parent.parent


@pytest.fixture
def packages(tmp_path) -> Path:
    """Installed packages, with what they bring for tests and compilers."""
    for name in (
        "torch/__init__.py",
        "torch/bin/protoc",
        "torch/bin/torch_shm_manager",
        "torch/include/ATen/ops/add.h",
        "torch/lib/libtorch_cpu.so",
        "torch/test/test_add.py",
        "torch/testing/__init__.py",
        "scipy/stats/tests/data/x.npz",
        "scipy/special/cython_special.pxd",
        "numpy/_core/lib/libnpymath.a",
        "numpy-2.0.dist-info/METADATA",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    return tmp_path


def test_of_packages_what_serving_uses_is_left(packages):
    slim.remove_unused(packages)

    assert {str(path.relative_to(packages)) for path in packages.rglob("*") if path.is_file()} == {
        "torch/__init__.py",
        "torch/bin/torch_shm_manager",
        "torch/lib/libtorch_cpu.so",
        "torch/testing/__init__.py",
        "numpy-2.0.dist-info/METADATA",
    }


def test_what_pytorch_imports_only_to_compile_is_not_locked(locked_versions):
    unused = (ROOT / "deploy/image/unused.txt").read_text().splitlines()[1:]

    assert "sympy" in unused
    assert not locked_versions.keys() & set(unused)


def test_bytecode_is_made_of_small_packages_as_a_whole_and_of_large_ones_where_they_are_imported(
    packages, monkeypatch
):
    monkeypatch.setattr(slim, "LARGE", 20)
    for name in ("torch/nn.py", "torch/_inductor.py", "torch/fx.py", "scipy/__init__.py", "scipy/lazy.py"):
        (packages / name).write_text("x = 1\n")

    slim.compile_sources(packages, {packages / "torch/nn.py", packages / "scipy/__init__.py"})

    tag = f".{sys.implementation.cache_tag}.pyc"
    compiled = {str(path.relative_to(packages)).replace(tag, "") for path in packages.rglob("*.pyc")}
    assert compiled == {"torch/__pycache__/nn", "scipy/__pycache__/__init__", "scipy/__pycache__/lazy"}


def test_bytecode_is_the_same_whenever_it_is_made_and_is_taken_without_a_look_at_the_source(packages):
    source = packages / "torch/__init__.py"
    made = []
    for modified in (1, 2):
        os.utime(source, (modified, modified))
        slim.compile_sources(packages, {source})
        made.append(next(packages.glob("torch/__pycache__/*.pyc")).read_bytes())

    assert made[0] == made[1]
    assert made[0][4:8] == (0b01).to_bytes(4, "little")  # by a hash, unchecked (PEP 552)


def check_health(port: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "deploy/image/healthcheck.py"]
    environment = os.environ | {"PORT": str(port)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_health_check_is_well_when_the_service_is_ready(service):
    assert check_health(service.base_url.port).returncode == 0


def test_the_health_check_says_why_it_is_not_well(store, copy_store, spoil_golden, serve, tmp_path, port):
    home = copy_store(store, tmp_path / "home")
    spoil_golden(home)

    with serve(home, ready="/livez") as client:
        not_ready = check_health(client.base_url.port)
    not_there = check_health(port)

    assert not_ready.returncode == 1
    assert "Train it again" in not_ready.stderr
    assert not_there.returncode == 1
    assert "not answering" in not_there.stderr


@pytest.fixture
def enter(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that does what a container does first, with a bentoml that says how it is called."""
    shutil.copy(ROOT / "deploy/image/entrypoint.sh", tmp_path)
    bentomls = resources.files("bentoml._internal.container.frontend.dockerfile") / "entrypoint.sh"
    (tmp_path / "bentoml.sh").write_text(bentomls.read_text())
    (tmp_path / "bentoml").write_text('#!/bin/sh\necho "$@, port $BENTOML_PORT"\n')
    (tmp_path / "bentoml").chmod(0o755)
    given = {"BENTO_PATH": "/bento", "BENTOML_HOME": str(tmp_path / "home"), "BENTOML_PORT": "3000"}

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tmp_path / "entrypoint.sh", *arguments],
            cwd=tmp_path,
            env=given | {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_container_starts_bentoml_on_the_port_that_it_is_given_and_says_nothing_else(enter):
    assert enter().stdout == "serve /bento, port 3000\n"
    assert enter(PORT="8080").stdout == "serve /bento, port 8080\n"
    assert enter(PORT="").stdout == "serve /bento, port 3000\n"
    assert enter("serve", "--reload", PORT="80").stdout == "serve --reload /bento, port 80\n"
    assert enter("echo", "hello").stdout == "hello\n"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_container_without_a_folder_that_it_can_write_to_says_so_in_one_line(enter, log_format):
    entered = enter(BENTOML_HOME="/proc/none", LOG_FORMAT=log_format)
    command = enter("echo", "hello", BENTOML_HOME="/proc/none")

    assert entered.returncode == 1
    assert entered.stderr == ""
    (line,) = entered.stdout.splitlines()
    said = json.loads(line)["message"] if log_format == "json" else line
    assert said.startswith("The service needs to write to /proc/none, and cannot.")
    assert command.stdout == "hello\n"  # which needs none


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backend"], "--backend needs a value: scripts/image --backend podman -t driftbento:latest"),
        (["-t"], "-t needs a value"),
        (["--backend", "kaniko"], "kaniko is no backend: docker, podman or buildah."),
    ],
    ids=" ".join,
)
def test_what_the_script_cannot_do_is_said_before_it_begins(arguments, said):
    command = ["./scripts/image", *arguments]

    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert finished.returncode == 2
    assert said in finished.stderr


def test_a_machine_without_an_engine_is_told_what_to_install(tmp_path):
    environment = os.environ | {"PATH": str(tmp_path)}
    for name in ("basename", "dirname", "sed"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")

    finished = subprocess.run(
        ["/bin/sh", "scripts/image"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    assert finished.returncode == 2
    assert "no container engine works here" in finished.stderr

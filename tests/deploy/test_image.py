"""What makes the image: the slimming of its packages, its health check, and the script that builds it."""

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from importlib import resources
from importlib.metadata import Distribution
from importlib.util import find_spec
from pathlib import Path

import pytest

from deploy.image import slim, symbols

ROOT = Path(__file__).parents[2]


@pytest.fixture
def packages(tmp_path) -> Path:
    """Installed packages, with what they bring for tests and compilers."""
    for name in (
        "torch/__init__.py",
        "torch/bin/protoc",
        "torch/bin/torch_shm_manager",
        "torch/include/ATen/ops/add.h",
        "torch/_dynamo/__init__.py",
        "torch/_inductor/codegen/cpp.py",
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


def test_a_package_lists_the_files_that_are_left_of_it_as_they_are(packages):
    record = packages / "numpy-2.0.dist-info/RECORD"
    record.write_text(
        "numpy/_core/lib/libnpymath.a,sha256=x,6\n"
        "scipy/stats/tests/data/x.npz,,\n"
        '"torch/lib/libtorch_cpu.so",sha256=x,1000\n'
        "torch/__init__.py,sha256=x,6\n"
        "numpy-2.0.dist-info/RECORD,,\n"
    )

    slim.remove_unused(packages)
    slim.record_what_is_left(packages)

    checksum = urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).decode().rstrip("=")
    files = {str(file): file for file in Distribution.at(record.parent).files}
    assert files.keys() == {"torch/lib/libtorch_cpu.so", "torch/__init__.py", "numpy-2.0.dist-info/RECORD"}
    assert files["torch/lib/libtorch_cpu.so"].size == 6
    assert files["torch/lib/libtorch_cpu.so"].hash.value == checksum
    assert files["torch/__init__.py"].hash.value == "x"  # whose size has not changed


def test_a_shared_library_does_without_its_symbols_what_it_did_with_them(tmp_path):
    shutil.copytree(find_spec("yaml").submodule_search_locations[0], tmp_path / "yaml")
    (library,) = tmp_path.glob("yaml/_yaml*.so")
    size = library.stat().st_size

    saved = symbols.cut_symbols(library)

    use = [sys.executable, "-c", "import yaml; print(yaml.__file__, yaml.load('a: [1]', yaml.CLoader))"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    printed = subprocess.check_output(use, env=environment, text=True)
    assert printed == f"{tmp_path}/yaml/__init__.py {{'a': [1]}}\n"
    assert saved > 0
    assert library.stat().st_size == size - saved
    assert symbols.cut_symbols(library) == 0  # of what has lost them already, nothing more


def library(
    *, kind: int = 3, identity: bytes = b"\x7fELF\x02\x01", flags: int = 0, gap: int = 0, after: bytes = b""
) -> bytes:
    """Return a shared library: 200 bytes that are loaded, a section of 100 that follows, and the tables."""
    loaded, follows = 200, 200 + gap
    header = identity.ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", kind, 62, 1, 0, 64, follows + 100, 0, 64, 56, 1, 64, 2, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, loaded, loaded, 4096)
    inside = struct.pack("<IIQQQQIIQQ", 0, 1, 2, 120, 120, 80, 0, 0, 1, 0)
    behind = struct.pack("<IIQQQQIIQQ", 0, 2, flags, 0, follows, 100, 0, 0, 1, 0)
    return (header + segment).ljust(follows + 100, b"x") + inside + behind + after


def test_a_shared_library_ends_where_what_is_loaded_ends_and_names_no_sections(tmp_path):
    path = tmp_path / "lib.so"
    path.write_bytes(library())

    saved = symbols.cut_symbols(path)

    left = path.read_bytes()
    assert saved == 100 + 2 * 64
    assert len(left) == 200
    assert left[40:48] == bytes(8)
    assert left[60:64] == bytes(4)
    assert left[:40] + left[48:60] + left[64:] == library()[:40] + library()[48:60] + library()[64:200]


@pytest.mark.parametrize(
    "content",
    [
        library(kind=2),
        library(identity=b"\x7fELF\x01\x01"),
        library(identity=b"\x7fELF\x02\x02"),
        library(flags=2),
        library(gap=5000),
        library(after=b"an archive"),
        library()[:-1],
        library()[:100],
        library()[:10],
        b"/* GNU ld script */ GROUP ( libm.so.6 )",
        b"",
    ],
    ids=[
        "a program",
        "of 32 bits",
        "the most significant byte first",
        "a section that is loaded, behind all segments",
        "something that is no section",
        "something behind the tables",
        "its end is missing",
        "its tables are missing",
        "its header is missing",
        "a linker's script",
        "empty",
    ],
)
def test_a_file_that_may_hold_something_else_is_left_as_it_is(tmp_path, content):
    path = tmp_path / "lib.so"
    path.write_bytes(content)

    saved = symbols.cut_symbols(path)

    assert saved == 0
    assert path.read_bytes() == content


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

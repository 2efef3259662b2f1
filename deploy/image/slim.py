"""Leaves in an environment what a running service uses of its packages.

Packages bring their tests, and headers and libraries to build others with. What is removed here is told by
such names, not by a list of what today's versions bring. Bytecode is made of what serving imports, in a form
that is the same whenever it is made; that of all modules would take three times the room.
"""

import csv
import hashlib
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from base64 import urlsafe_b64encode
from collections.abc import Set
from importlib.util import cache_from_source
from pathlib import Path
from py_compile import PycInvalidationMode

UNUSED = ("test", "tests", "include", "*.a", "*.h", "*.hpp", "*.cuh", "*.pxd", "*.pyi", "*.pyx", "*.cmake")
PROGRAMS = "torch/bin/*"
LOOKED_FOR = "torch_shm_manager"  # torch does not load without it
COMPILER = ("torch/_dynamo", "torch/_inductor")  # they do not load without the packages of unused.txt

# The packages that BentoML's processes import, and the service's own code.
IMPORT = """
import sys
import _bentoml_impl.server.app, _bentoml_impl.server.serving, _bentoml_impl.worker.service, bentoml_cli.serve
import httptools, httpx, multipart, numpy, opentelemetry.instrumentation.asgi, PIL.Image, prometheus_client
import psutil, pydantic_settings, pythonjsonlogger.json, rich, safetensors.torch, scipy.stats, starlette
import torch, torchdrift, uvicorn, uvloop
print(*(file for module in [*sys.modules.values()] if (file := getattr(module, "__file__", None))), sep="\\n")
"""
LARGE = 3_000_000  # bytes of source; of larger packages only the imported modules get bytecode


def main() -> None:
    packages = Path(sysconfig.get_path("purelib"))
    before = size(packages)
    remove_unused(packages)
    record_what_is_left(packages)
    compile_sources(packages, imported())
    print(f"{before / 1e6:,.0f} MB of packages became {size(packages) / 1e6:,.0f} MB")


def remove_unused(packages: Path) -> None:
    """Remove the files and folders that no service needs."""
    found = [path for pattern in UNUSED for path in packages.rglob(pattern)]
    found += [path for path in packages.glob(PROGRAMS) if path.name != LOOKED_FOR]
    found += [packages / name for name in COMPILER if (packages / name).exists()]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # it may have been in one of the folders


def record_what_is_left(packages: Path) -> None:
    """Let each package's list of its files be true again, for whoever looks there for what is installed."""
    for record in packages.glob("*.dist-info/RECORD"):
        with record.open(newline="", encoding="utf-8") as file:
            left = [(packages / row[0], row) for row in csv.reader(file) if (packages / row[0]).exists()]
        with record.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            for path, (name, checksum, length) in left:
                is_changed = length and int(length) != path.stat().st_size
                writer.writerow([name, *(facts_of(path) if is_changed else (checksum, length))])


def facts_of(path: Path) -> tuple[str, int]:
    """Return a file's checksum as RECORD has it, and its size in bytes."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return f"sha256={urlsafe_b64encode(digest).decode().rstrip('=')}", path.stat().st_size


def imported() -> set[Path]:
    """Return the files of all modules that serving imports."""
    command = [sys.executable, "-B", "-c", IMPORT]
    files = map(Path, subprocess.check_output(command, text=True).split())
    return {file for file in files if file.is_absolute()}  # torch has modules of which there is no file


def compile_sources(packages: Path, imported: Set[Path]) -> None:
    """Write the bytecode of imported packages, which is taken as it stands, without a look at the source.

    And of imported modules of Python's own, where the base image has left it out.
    """
    inside = {file for file in imported if file.is_relative_to(packages)}
    wanted = {file for file in imported - inside if not Path(cache_from_source(str(file))).exists()}
    for name in {file.relative_to(packages).parts[0] for file in inside}:
        sources = {packages / name} if name.endswith(".py") else {*(packages / name).rglob("*.py")}
        is_large = sum(source.stat().st_size for source in sources) > LARGE
        wanted |= sources & inside if is_large else sources
    for source in sorted(source for source in wanted if source.suffix == ".py"):
        py_compile.compile(str(source), invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


def size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


if __name__ == "__main__":
    main()

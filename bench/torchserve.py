"""TorchServe, to compare with: installed beside this environment's packages, and run while it is needed."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

PACKAGES = ("torchserve==0.12.0", "torch-model-archiver==0.12.0")  # the last ones: both are archived
HOST = "127.0.0.1"
READY_WITHIN_SECONDS = 120
STOPPED_WITHIN_SECONDS = 30


def install(folder: Path) -> dict[str, str]:
    """Install TorchServe and its archiver into a folder; return the environment in which Python has them.

    They come without what they depend on. All of it that they use is in this environment, of which PyTorch
    alone would be gigabytes.
    """
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
    subprocess.run([*uv, "--no-deps", "--target", str(folder), *PACKAGES], check=True)
    return os.environ | {"PYTHONPATH": str(folder)}


@contextmanager
def serving(archive: Path, folder: Path, environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Serve an archive, and give the addresses for predictions and management once a worker has loaded it.

    Args:
        archive: A `.mar` file, named after its model.
        folder: Where the settings and the logs go.
        environment: From `install`.

    Raises:
        RuntimeError: No worker has become ready; the logs say why.
    """
    names = ("inference_address", "management_address", "metrics_address")
    addresses = {name: f"http://{HOST}:{port}" for name, port in zip(names, free_ports(3), strict=True)}
    grpc = dict(zip(("grpc_inference_port", "grpc_management_port"), free_ports(2), strict=True))
    config = folder / "config.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in {**addresses, **grpc}.items()))
    command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs"]
    command += ["--disable-token-auth", "--ts-config", str(config)]
    command += ["--model-store", str(archive.parent), "--models", f"{archive.stem}={archive.name}"]
    # A short path of its own, since the sockets of its workers are in there, and its process id.
    with tempfile.TemporaryDirectory(prefix="ts-") as short, (folder / "output.log").open("wb") as output:
        process = psutil.Popen(
            command,
            cwd=folder,
            env=environment | {"TMPDIR": short, "TEMP": short},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until_ready(f"{addresses['management_address']}/models/{archive.stem}", process, folder)
            yield addresses["inference_address"], addresses["management_address"]
        finally:
            stop(process)


def free_ports(count: int) -> list[int]:
    listeners = [socket.socket() for _ in range(count)]  # all at a time, so that they differ
    for listener in listeners:
        listener.bind((HOST, 0))
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def wait_until_ready(model: str, process: psutil.Popen, folder: Path) -> None:
    """Wait for a worker, since TorchServe itself is up, and stays up, where each of its workers fails."""
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            answer = httpx.get(model, trust_env=False)
            if answer.is_success and any(
                worker["status"] == "READY" for worker in answer.json()[0]["workers"]
            ):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"TorchServe did not become ready. {folder} has its logs.")


def stop(process: psutil.Popen) -> None:
    """End TorchServe, whose first process ends when its Java process does, and no worker outlives that."""
    family = process.children(recursive=True) if process.is_running() else []
    for child in family:
        with suppress(psutil.NoSuchProcess):  # a worker ends with the Java process
            child.terminate()
    _, alive = psutil.wait_procs([*family, process], timeout=STOPPED_WITHIN_SECONDS)
    for survivor in alive:
        survivor.kill()

"""TorchServe: its settings, and running it in the environment of the peers."""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from bench.peers.environment import interpreter
from bench.processes import HOST, free_port, running

READY_WITHIN_SECONDS = 120


def settings(
    model: str, port: int, management_port: int, model_settings: Mapping[str, int] | None = None
) -> str:
    """Return TorchServe's config.properties: the defaults, but for addresses and the settings of a model."""
    lines = [
        f"inference_address=http://{HOST}:{port}",
        f"management_address=http://{HOST}:{management_port}",
        f"metrics_address=http://{HOST}:{free_port()}",
        f"grpc_inference_port={free_port()}",
        f"grpc_management_port={free_port()}",
        f"load_models={model}.mar",
    ]
    if model_settings:
        entry = {"1.0": {"defaultVersion": True, "marName": f"{model}.mar", **model_settings}}
        lines.append(f"models={json.dumps({model: entry})}")
    return "\n".join(lines) + "\n"


def arguments(archives: Path, config: Path) -> list[str]:
    """Return the options with which `ts.model_server` serves the archives of a folder."""
    flags = ["--start", "--foreground", "--ncs", "--disable-token-auth"]
    return [*flags, "--model-store", str(archives), "--ts-config", str(config)]


@contextmanager
def serving(archive: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Serve an archive, and yield the URLs for predictions and management once a worker has loaded it.

    Args:
        archive: A `.mar` file, named after its model.
        folder: Folder for settings and logs.

    Raises:
        PeersUnavailableError: TorchServe cannot be installed.
        RuntimeError: No worker became ready; the logs say why.
    """
    port, management_port = free_port(), free_port()
    config = folder / "config.properties"
    config.write_text(settings(archive.stem, port, management_port))
    command = [str(interpreter()), "-m", "ts.model_server", *arguments(archive.parent, config)]
    management = f"http://{HOST}:{management_port}"
    # TMPDIR holds its process id and the sockets of its workers, whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="ts-") as short, (folder / "output.log").open("wb") as output:
        process_options = {"stdout": output, "stderr": subprocess.STDOUT}
        environment = {"TMPDIR": short, "TEMP": short}
        with running(command, environment=environment, folder=folder, **process_options) as process:
            wait_until_ready(f"{management}/models/{archive.stem}", process, folder)
            yield f"http://{HOST}:{port}", management


def wait_until_ready(model: str, process: psutil.Popen, folder: Path) -> None:
    """Wait for a ready worker; TorchServe itself also answers while all of its workers fail."""
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

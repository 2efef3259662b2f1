"""All servers that `bench.serving` compares."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.bodies import Body, form
from bench.peers import torchserve
from bench.peers.environment import interpreter
from bench.processes import HOST, ROOT, free_port, python, result_of
from bench.serving.server import Program, Server, ServerUnavailableError
from bench.serving.workload import Workload

CORES = os.cpu_count() or 1
THREADS_FOR_REQUESTS = 4 * CORES  # FastAPI answers as many images a second as with its 40, and sooner
TUNED = {"minWorkers": 1, "maxWorkers": 1, "batchSize": 8, "maxBatchDelay": 10, "responseTimeout": 120}
EMPTY_BENTOML = "bench.peers.empty_bentoml:Empty"
H11 = ("--loop=asyncio", "--http=h11")  # uvicorn without its optional packages, as BentoML runs it


def with_peers(folder: Path = ROOT, **environment: str) -> Callable[..., Program]:
    """Return a function from a module and its arguments to a program in the peers' environment."""

    def program(module: str, *arguments: str) -> Program:
        command = [str(interpreter()), "-m", module, *arguments]
        return Program(command, {"PYTHONPATH": str(ROOT)} | environment, folder)

    return program


def bentoml_program(service: str, **environment: str) -> Callable[[Workload, int, Path], Program]:
    return lambda _, port, __: Program(
        python("bentoml", "serve", service, "--host", HOST, "--port", str(port)), environment
    )


def fastapi_program(workers: int, torch_threads: int) -> Callable[[Workload, int, Path], Program]:
    def program(workload: Workload, port: int, _: Path) -> Program:
        make = with_peers(
            MODEL_FOLDER=str(workload.folder),
            PREPARATION=workload.preparation,
            TORCH_THREADS=str(torch_threads),
            THREADS=str(THREADS_FOR_REQUESTS),
        )
        return make("bench.peers.fastapi_server", "create", f"--port={port}", f"--workers={workers}")

    return program


def empty_fastapi_program(*options: str) -> Callable[[Workload, int, Path], Program]:
    return lambda _, port, __: with_peers()(
        "bench.peers.fastapi_server", "create_empty", f"--port={port}", *options
    )


def litserve_program(workload: Workload, port: int, _: Path) -> Program:
    options = [f"--preparation={workload.preparation}", f"--port={port}", f"--workers={CORES}"]
    return with_peers()("bench.peers.litserve_server", str(workload.folder), *options)


def torchserve_program(model_settings: Mapping[str, int]) -> Callable[[Workload, int, Path], Program]:
    def program(workload: Workload, port: int, folder: Path) -> Program:
        if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
            raise ServerUnavailableError("TorchServe needs Java: `apt install default-jre-headless`.")
        archive(workload, folder)
        config = folder / "config.properties"
        config.write_text(torchserve.settings(workload.model, port, free_port(), model_settings))
        # TorchServe keeps its process id in the temporary folder, and refuses to start where it finds one.
        make = with_peers(folder, TMPDIR=str(folder))
        return make("ts.model_server", *torchserve.arguments(folder, config))

    return program


def archive(workload: Workload, folder: Path) -> None:
    """Write the archive from which TorchServe serves a model, named after the model, into a folder."""
    preparation = folder / "preparation"
    preparation.write_text(workload.preparation)
    arguments = {
        "model-name": workload.model,
        "version": "1.0",
        "serialized-file": workload.folder / "model.pt",
        "handler": ROOT / "bench" / "peers" / "torchserve_handler.py",
        "extra-files": f"{workload.folder / 'labels.json'},{preparation}",
        "export-path": folder,
    }
    command = str(interpreter().with_name("torch-model-archiver"))
    result_of([command, *(f"--{name}={value}" for name, value in arguments.items())])


def as_form(file_field: str, **fields: str) -> Callable[[Workload, bytes], Body]:
    """Return a function that makes a form with an image and other fields."""

    def body(workload: Workload, image: bytes) -> Body:
        filled = {name: value.format(model=workload.model) for name, value in fields.items()}
        return form([(file_field, ("image", image, workload.media_type))], filled)

    return body


def as_it_is(workload: Workload, image: bytes) -> Body:
    """Return an image file as the whole body of a request."""
    return Body(workload.media_type, image)


def at(path: str) -> Callable[[Workload], str]:
    """Return a function from a workload to a path, in which {model} is its model."""
    return lambda workload: path.format(model=workload.model)


ASK_SERVICE = as_form("images", model="{model}", top_k="5")
ASK_PEER = as_form("image")
SERVERS = (
    Server("service", "this service", bentoml_program("."), at("/classify"), ASK_SERVICE),
    Server(
        "service",
        f"this service, {CORES} workers",
        bentoml_program(".", WORKERS=str(CORES), CLASSIFY_THREADS="1"),
        at("/classify"),
        ASK_SERVICE,
    ),
    Server("fastapi", f"FastAPI, {CORES} threads", fastapi_program(1, CORES), at("/classify"), ASK_PEER),
    Server("fastapi", f"FastAPI, {CORES} workers", fastapi_program(CORES, 1), at("/classify"), ASK_PEER),
    Server("litserve", "LitServe", litserve_program, at("/classify"), ASK_PEER),
    Server(
        "torchserve", "TorchServe, defaults", torchserve_program({}), at("/predictions/{model}"), as_it_is
    ),
    Server(
        "torchserve", "TorchServe, tuned", torchserve_program(TUNED), at("/predictions/{model}"), as_it_is
    ),
    Server("empty", "empty BentoML", bentoml_program(EMPTY_BENTOML), at("/empty"), ASK_SERVICE, True),
    Server("empty", "empty FastAPI", empty_fastapi_program(), at("/empty"), ASK_SERVICE, True),
    Server("empty", "empty FastAPI, h11", empty_fastapi_program(*H11), at("/empty"), ASK_SERVICE, True),
)

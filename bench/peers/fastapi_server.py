"""A plain FastAPI server of a model, run by `bench.serving` in the environment of the peers."""

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import torch
import uvicorn
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, Request, UploadFile

from bench.peers.model import PlainModel


def create() -> FastAPI:
    """Return the application, configured by environment variables, which reach uvicorn's workers."""
    torch.set_num_threads(int(os.environ["TORCH_THREADS"]))
    model = PlainModel(Path(os.environ["MODEL_FOLDER"]), os.environ["PREPARATION"])

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # With the default of 40 threads, as many forward passes may run at the same time.
        current_default_thread_limiter().total_tokens = int(os.environ["THREADS"])
        yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/classify")
    def classify(image: UploadFile) -> list[dict]:
        return model.classify(model.decode(image.file.read())[None])[0]

    return app


def create_empty() -> FastAPI:
    """Return an application that reads requests and does nothing with them."""
    app = FastAPI()

    @app.post("/empty")
    async def empty(request: Request) -> dict:
        await request.body()
        return {}

    return app


def main() -> None:
    options = parser().parse_args()
    uvicorn.run(
        f"bench.peers.fastapi_server:{options.program}",
        factory=True,
        host="127.0.0.1",
        port=options.port,
        workers=options.workers,
        loop=options.loop,
        http=options.http,
        log_level="warning",
    )


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m bench.peers.fastapi_server", description=__doc__)
    options.add_argument("program", choices=["create", "create_empty"])
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--workers", type=int, default=1, help="number of processes (default: %(default)s)")
    options.add_argument("--loop", default="uvloop", help="option of uvicorn (default: %(default)s)")
    options.add_argument("--http", default="httptools", help="option of uvicorn (default: %(default)s)")
    return options


if __name__ == "__main__":
    main()

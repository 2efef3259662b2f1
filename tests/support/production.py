"""The service as production runs it, in a process of its own that a test may do anything to."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.processes import ROOT, environment, free_port

WITHIN_SECONDS = 90  # on a busy machine; it takes some five


@dataclass
class Service:
    """A service that runs: its process, and what asks it and reads its log."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path

    @property
    def workers(self) -> list[psutil.Process]:
        found = []
        for child in self.children:
            with suppress(psutil.NoSuchProcess):  # It has ended since, whether its parent knows that or not.
                if "_bentoml_impl.worker.service" in child.cmdline():
                    found.append(child)
        return found

    @property
    def children(self) -> list[psutil.Process]:
        """All children of the process, those included that ended and of which it has not taken notice."""
        return psutil.Process(self.process.pid).children()

    def readiness(self) -> httpx.Response | None:
        """What /readyz answers on a connection of its own, if anybody does."""
        try:
            return httpx.get(f"{self.client.base_url}/readyz", timeout=10)
        except httpx.TransportError:
            return None

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        answer = self.readiness()
        return answer is not None and answer.is_success

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until something is the case, or fail with what the log says."""
        deadline = time.monotonic() + WITHIN_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def end(self) -> int:
        """Wait until the process ends, and return its status."""
        return self.process.wait(WITHIN_SECONDS)


Start = Callable[..., AbstractContextManager[Service]]


@pytest.fixture(scope="session")
def start(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Return a context manager that starts the service beside a child that it knows nothing of."""

    @contextmanager
    def starting(
        *, until_ready: bool = True, home: Path = store, under: Sequence[str] = (), **settings: str
    ) -> Iterator[Service]:
        port = str(free_port())
        log = tmp_path_factory.mktemp("service") / "log"
        serve = [sys.executable, "-m", "bentoml", "serve", ".", "--host", "127.0.0.1", "--port", port]
        with (
            log.open("wb") as output,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ):
            process = subprocess.Popen(
                ["sh", "-c", 'sleep 1 & exec "$@"', "sh", *under, *serve],
                cwd=ROOT,
                env=environment(home) | settings,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            service = Service(process, client, log)
            try:
                if until_ready:
                    service.wait_for(service.is_ready)
                yield service
            finally:
                if process.poll() is None:
                    workers = service.workers  # each of which is in a process group of its own
                    os.killpg(process.pid, signal.SIGKILL)
                    for worker in workers:
                        with suppress(psutil.NoSuchProcess):
                            worker.kill()
                process.wait()

    return starting

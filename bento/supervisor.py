"""Supervision of the worker processes: which are replaced, and how the service reloads and stops.

BentoML leaves that to circus. This circus watcher looks after its workers every second instead of every ten,
closes the port as soon as the service stops, and, where BentoML does not replace a dead worker, as in
containers, ends the service for the orchestrator to see.
"""

import atexit
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import circus.arbiter
import circus.controller
import circus.watcher
from circus.process import DEAD_OR_ZOMBIE
from prometheus_client.multiprocess import mark_process_dead
from tornado import gen

from serving.logs import refuse_to_start
from serving.process.metric_files import release
from serving.process.readiness import ReadinessFile
from serving.settings import settings

logger = logging.getLogger("bentoml.driftbento")

CHECK_EVERY_SECONDS = 1
GRACE_OPTION = "--timeout-graceful-shutdown"  # of BentoML's workers
KEEP_ALIVE_OPTION = "--timeout-keep-alive"
KILL_AFTER_SECONDS = 1  # after the grace period: workers end by themselves within it unless they hang
HUNG_AFTER_CHECKS = 20  # checks, not seconds: a machine that was asleep has stopped its workers too
TRY_AGAIN_AFTER_SECONDS = 30


def supervise(environment: Mapping[str, str]) -> None:
    """Supervise the workers that BentoML is about to start.

    Args:
        environment: Variables that they get beside this process's own.

    Raises:
        SystemExit: There is nowhere to put what they need.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        refuse_to_start("The service needs to write where temporary files go, such as in /tmp, and cannot.")
    sys.excepthook = say_what_failed(sys.excepthook)
    Supervisor.environment = environment
    circus.watcher.Watcher = Supervisor  # where BentoML, which offers no choice of it, takes it from
    circus.arbiter.Controller = Controller


class Controller(circus.controller.Controller):  # type: ignore[misc] # circus is not typed
    """Takes commands from signals and over a socket that only this user can open, not over a port."""

    def __init__(self, _: str, multicast: None, context: Any, loop: Any, arbiter: Any, *options: Any) -> None:
        folder = tempfile.mkdtemp(prefix="driftbento-")  # with the mode 0700
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        arbiter.endpoint, arbiter.pubsub_endpoint = f"ipc://{folder}/commands", f"ipc://{folder}/events"
        super().__init__(arbiter.endpoint, multicast, context, loop, arbiter, *options)

    def dispatch(self, job: tuple[bytes | None, bytes]) -> None:
        """Run a command once circus has finished the one before it; until then circus would refuse it."""
        if self.arbiter._exclusive_running_command:
            self.loop.call_later(0.1, self.dispatch, job)
        else:
            super().dispatch(job)


class Supervisor(circus.watcher.Watcher):  # type: ignore[misc] # circus is not typed
    """Starts workers, replaces those that die or hang or ends the service, and stops them."""

    environment: ClassVar[Mapping[str, str]] = {}

    def __init__(self, name: str, cmd: str, args: Sequence[str], **options: Any) -> None:
        if GRACE_OPTION not in args:
            args = [*args, GRACE_OPTION, str(settings().grace_seconds)]
        if KEEP_ALIVE_OPTION not in args:
            args = [*args, KEEP_ALIVE_OPTION, str(settings().keep_alive_seconds)]
        self.grace_seconds = int(args[args.index(GRACE_OPTION) + 1])
        self.readiness = ReadinessFile.create(options["numprocesses"])
        self.is_over = False
        self.next_try = 0.0  # time.monotonic() of it
        self.outdated = set[int]()  # processes that are to be replaced
        self.retired = set[int]()  # those of them that have been told to stop
        self.signs = dict[int, tuple[float | None, int]]()  # of each process its last, seen how often
        self.metrics = options["env"]["PROMETHEUS_MULTIPROC_DIR"]
        super().__init__(
            name,
            cmd,
            args,
            **options
            | {
                "env": options["env"] | self.environment | self.readiness.environment(),
                "graceful_timeout": self.grace_seconds + KILL_AFTER_SECONDS,
            },
        )

    def initialize(self, evpub_socket: Any, sockets: Any, arbiter: Any) -> None:
        super().initialize(evpub_socket, sockets, arbiter)
        arbiter.ctrl.check_delay = CHECK_EVERY_SECONDS * 1000
        # By the clock on the wall, which may be set back, the next look at the workers could be hours away.
        arbiter.loop.time = time.monotonic

    def reap_process(self, pid: int, status: int | None = None) -> None:
        worker = self.processes.get(pid)
        super().reap_process(pid, status)
        # Otherwise /metrics would add its gauges to those of the others for ever.
        mark_process_dead(pid, self.metrics)  # type: ignore[no-untyped-call]
        release(pid, Path(self.metrics))
        was_told = worker is None or worker.stopping or pid in self.retired
        self.retired.discard(pid)
        if was_told or status is None or not self.is_active():
            return
        has_answered = self.readiness.last_sign_of(pid) is not None
        logger.error(
            "Worker %d (process %d) %s%s. %s",
            worker.wid,
            pid,
            describe(status),
            "" if has_answered else " before it was ready",
            self.decide(has_answered=has_answered),
        )

    def decide(self, *, has_answered: bool) -> str:
        """Decide and say what follows from the end of a worker that nobody has told to end."""
        if has_answered and self.respawn:
            return "Another one is started."
        # Where dead workers are not replaced, only one beside all the others can be spared.
        n_enough = 1 if self.respawn else self.readiness.n_workers
        if not has_answered and self.readiness.n_ready >= n_enough:
            self.next_try = time.monotonic() + TRY_AGAIN_AFTER_SECONDS
            return f"The others go on, and another one is started in {TRY_AGAIN_AFTER_SECONDS} s."
        self.is_over = True
        return "The service ends."

    @gen.coroutine
    def manage_processes(self) -> Iterator[Any]:
        if self.is_over and self.is_active():
            yield self._stop()
            raise SystemExit(1)
        self.signs = {pid: self.look_at(pid) for pid in self.processes}
        # A worker whose threads still end is dead and cannot be reaped yet; circus would forget it.
        if all(worker.status != DEAD_OR_ZOMBIE for worker in self.processes.values()):
            self.replace_outdated()
            yield super().manage_processes()

    @gen.coroutine
    def spawn_processes(self) -> Iterator[Any]:
        if not self.processes or time.monotonic() >= self.next_try:
            yield super().spawn_processes()

    def look_at(self, pid: int) -> tuple[float | None, int]:
        """Return a worker's last sign of life and how often it has been the same; kill one that hangs."""
        sign = self.readiness.last_sign_of(pid)
        before, n_checks = self.signs.get(pid, (None, 0))
        n_checks = n_checks + 1 if sign is not None and sign == before else 0
        if n_checks == HUNG_AFTER_CHECKS:
            logger.error("Process %d has shown no sign of life for %d s and is killed.", pid, n_checks)
            self.send_signal(pid, signal.SIGKILL)
        return sign, n_checks

    def _reload(self, **_: Any) -> None:
        logger.info("Replacing the workers one after another.")
        self.outdated = set(self.processes)

    def replace_outdated(self) -> None:
        """Start one more worker if some are to be replaced; stop one of these when all show signs of life."""
        self.outdated &= self.processes.keys()
        self.numprocesses = self.readiness.n_workers + bool(self.outdated)
        if not self.outdated or any(worker.stopping for worker in self.processes.values()):
            return
        if len(self.processes) < self.numprocesses:
            if time.monotonic() >= self.next_try:
                self.spawn_process()
        elif all(sign is not None and n_checks == 0 for sign, n_checks in self.signs.values()):
            self.retire(min(self.outdated))

    @gen.coroutine
    def retire(self, pid: int) -> Iterator[Any]:
        self.retired.add(pid)
        yield self.kill_process(self.processes[pid])
        self.reap_process(pid)

    @gen.coroutine
    def kill_processes(self, **options: Any) -> Iterator[Any]:
        yield super().kill_processes(**options)
        while any(worker.stopping for worker in self.processes.values()):  # since before that
            yield gen.sleep(0.1)

    @gen.coroutine
    def _stop(self, close_output_streams: bool = False) -> Iterator[Any]:
        if self.is_over or self.arbiter._stopping:  # not for a restart
            logger.info("Stopping: requests in progress have %d s to be answered.", self.grace_seconds)
            # Nobody would answer new connections. Workers close their own copies when they are told to stop.
            self.sockets.close_all()
        yield super()._stop(close_output_streams)


def say_what_failed(before: Callable[..., Any]) -> Callable[..., Any]:
    """Return a sys.excepthook that logs an error of the system in one line, and leaves others to another."""

    def say(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, OSError):
            logger.critical("The service ends: %s.", error)
        else:
            before(kind, error, traceback)

    return say


def describe(status: int) -> str:
    """Return how a process ended, in words."""
    code = os.waitstatus_to_exitcode(status)
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"

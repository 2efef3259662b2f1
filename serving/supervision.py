"""What the process that starts the workers does when one of them dies, and when it is told to stop.

BentoML leaves both to circus, so here is a circus watcher that differs from circus's own: it looks after its
workers every second instead of every ten; it lets nobody wait for a service that stops; and where BentoML
does not replace a dead worker, which is in containers, it ends the service, for the orchestrator to see.
"""

import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import circus.watcher
from circus.process import DEAD_OR_ZOMBIE
from prometheus_client.multiprocess import mark_process_dead
from tornado import gen

from serving.metric_files import release
from serving.settings import settings
from serving.workers import Roll

logger = logging.getLogger("bentoml.driftbento")

CHECK_EVERY_SECONDS = 1
GRACE_OPTION = "--timeout-graceful-shutdown"  # of BentoML's workers
KEEP_ALIVE_OPTION = "--timeout-keep-alive"
KILL_AFTER_SECONDS = 1  # after the grace period, in which workers end by themselves unless they hang


def supervise() -> None:
    """Let the workers that BentoML is about to start be looked after as this module says."""
    circus.watcher.Watcher = Supervisor  # where BentoML, which offers no choice of it, takes it from


class Supervisor(circus.watcher.Watcher):  # type: ignore[misc] # circus is not typed
    """Starts workers, replaces those that die or ends the service, and stops them."""

    def __init__(self, name: str, cmd: str, args: Sequence[str], **options: Any) -> None:
        if GRACE_OPTION not in args:
            args = [*args, GRACE_OPTION, str(settings().grace_seconds)]
        if KEEP_ALIVE_OPTION not in args:
            args = [*args, KEEP_ALIVE_OPTION, str(settings().keep_alive_seconds)]
        self.grace_seconds = int(args[args.index(GRACE_OPTION) + 1])
        self.roll = Roll.create(options["numprocesses"])
        self.is_over = False
        self.metrics = options["env"]["PROMETHEUS_MULTIPROC_DIR"]
        super().__init__(
            name,
            cmd,
            args,
            **options
            | {
                "env": options["env"] | self.roll.environment(),
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
        # Or /metrics would add what it held to what the others hold, for ever.
        mark_process_dead(pid, self.metrics)  # type: ignore[no-untyped-call]
        release(pid, Path(self.metrics))
        if worker is None or worker.stopping or status is None or not self.is_active():
            return
        was_ready = self.roll.has_seen(pid)
        # One that cannot start is not worth another try: it would not be the last.
        self.is_over = self.is_over or not (self.respawn and was_ready)
        logger.error(
            "Worker %d (process %d) %s%s. %s",
            worker.wid,
            pid,
            describe(status),
            "" if was_ready else " before it was ready",
            "The service ends." if self.is_over else "Another one is started.",
        )

    @gen.coroutine
    def manage_processes(self) -> Iterator[Any]:
        if self.is_over and self.is_active():
            yield self._stop()
            raise SystemExit(1)
        # While its threads end, a worker is already dead and cannot be reaped yet; circus would forget it.
        if all(worker.status != DEAD_OR_ZOMBIE for worker in self.processes.values()):
            yield super().manage_processes()

    @gen.coroutine
    def _stop(self, close_output_streams: bool = False) -> Iterator[Any]:
        if self.is_over or self.arbiter._stopping:  # and not about to start again
            logger.info("Stopping: requests in progress have %d s to be answered.", self.grace_seconds)
            # Who connects from now on would wait for nobody. Workers close theirs when they are told to stop.
            self.sockets.close_all()
        yield super()._stop(close_output_streams)


def describe(status: int) -> str:
    """Return how a process ended, in words."""
    code = os.waitstatus_to_exitcode(status)
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"

"""The Prometheus metrics of this project, which /metrics gives beside BentoML's own.

Labels are names of models, classes, endpoints and kinds of errors, and never taken from a request.
"""

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from itertools import product
from typing import Any, get_args

import psutil
from prometheus_client import Counter, Gauge, Histogram

from drift.report import Detector, DriftReport
from serving.process import metric_files
from serving.schemas import ModelInfo, Prediction
from vision.errors import Problem
from vision.preprocessing.prepared import WarningKind

DETECTORS: Sequence[str] = get_args(Detector)
RESULTS = {True: "drift", False: "no_drift"}
MAX_UNSEEN_CLASSES = 100  # a model with more classes reports those that it has found
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
PROBABILITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
MEMORY_EVERY_SECONDS = 5.0


class Metrics:
    """The metrics of this process; /metrics adds those of all workers up."""

    def __init__(self) -> None:
        self.meters = dict[str, Meter]()
        self.images = Counter(
            "driftbento_images_classified", "Images classified, by the class found.", ["model", "label"]
        )
        self.confidence = Histogram(
            "driftbento_confidence", "Probability of the class found.", ["model"], buckets=PROBABILITIES
        )
        self.rejected = Counter(
            "driftbento_images_rejected",
            "Images that could not be used, by the problem they had.",
            ["model", "reason"],
        )
        self.odd = Counter(
            "driftbento_images_odd", "Images classified with a warning, by its kind.", ["model", "reason"]
        )
        self.refused = Counter(
            "driftbento_requests_refused", "Requests answered with a problem, by its kind.", ["reason"]
        )
        self.batch_images = Histogram(
            "driftbento_batch_images",
            "Images that were answered together.",
            ["model", "endpoint"],
            buckets=BATCH_SIZES,
        )
        self.step_seconds = Histogram(
            "driftbento_step_seconds",
            "Time that a batch spent being decoded, in the network, and in the drift test.",
            ["model", "endpoint", "step"],
            buckets=SECONDS,
        )
        self.tests = Counter(
            "driftbento_drift_tests", "Drift tests made, by result.", ["model", "detector", "result"]
        )
        self.p_value = last("driftbento_drift_p_value", "P-value of the last drift test.")
        self.score = last("driftbento_drift_score", "Score of the last drift test.")
        self.alpha = last("driftbento_drift_alpha", "Significance level of the last drift test.")
        self.queue = Gauge(
            "driftbento_queue_requests",
            "Requests that are answered or wait for it.",
            ["endpoint"],
            multiprocess_mode="livesum",
        )
        self.ready = Gauge(
            "driftbento_model_ready",
            "Whether a model is loaded and gives its golden answers.",
            ["model", "version"],
            multiprocess_mode="livemin",
        )
        self.memory = Gauge(
            "driftbento_resident_memory_bytes", "Memory that all workers hold.", multiprocess_mode="livesum"
        )

    def meter(self, model: str) -> "Meter":
        """Return the metrics of a model, by its name, made when they are first asked for."""
        if model not in self.meters:
            self.meters[model] = Meter(self, model)
        return self.meters[model]

    def count_refusal(self, document: Mapping[str, Any]) -> None:
        """Count a request that is answered with a problem document."""
        self.refused.labels(reason_of(document)).inc()

    def describe(self, models: Iterable[ModelInfo]) -> None:
        """Report the models and their counters, all zero yet, and from now on this process's memory.

        If a counter appeared with the first request, Prometheus would not see the increase.
        """
        for model in models:
            self.ready.labels(model.name, model.version).set(model.ready)
            self.meter(model.name).show_classes(model.classes)
            for warning in WarningKind:
                self.odd.labels(model.name, warning)
            if model.drift_reference is not None:
                for detector, result in product(DETECTORS, RESULTS.values()):
                    self.tests.labels(model.name, detector, result)
        threading.Thread(target=self.watch_memory, name="memory", daemon=True).start()

    def watch_memory(self) -> None:
        process, never = psutil.Process(os.getpid()), threading.Event()
        while True:
            self.memory.set(process.memory_info().rss)
            never.wait(MEMORY_EVERY_SECONDS)


def last(name: str, meaning: str) -> Gauge:
    """Return a gauge of the last drift test of any worker."""
    return Last(name, meaning, ["model", "detector"], multiprocess_mode="mostrecent")


class Last(Gauge):
    """A gauge of the value that any worker has set last, by the monotonic clock.

    prometheus_client uses the clock on the wall. When that is set back, an old value passes for the last.
    """

    def set(self, value: float) -> None:
        self._value.set(value, timestamp=time.monotonic())


def reason_of(document: Mapping[str, Any]) -> str:
    """Return the kind of a problem or, for type `about:blank`, the phrase of its status with hyphens."""
    namespace, _, kind = str(document["type"]).rpartition(":")
    if namespace.startswith("urn:"):
        return kind
    return HTTPStatus(document["status"]).phrase.lower().replace(" ", "-")


@cache
def metrics() -> Metrics:
    """Return the metrics, made at the first call.

    Call it in a worker only: the folder in which the workers share their metrics is not known before.

    Raises:
        OSError: There is no room for them on disk.
    """
    metric_files.reserve()
    return Metrics()


class Meter:
    """The metrics of one model, with labels looked up once, since that takes longer than counting."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.metrics = metrics
        self.model = model
        self.images = dict[str, Counter]()
        self.confidence = metrics.confidence.labels(model)
        self.classify_images = metrics.batch_images.labels(model, "/classify")
        self.classify_decode = metrics.step_seconds.labels(model, "/classify", "decode")
        self.classify_predict = metrics.step_seconds.labels(model, "/classify", "predict")
        self.drift_images = metrics.batch_images.labels(model, "/drift")
        self.drift_decode = metrics.step_seconds.labels(model, "/drift", "decode")
        self.drift_predict = metrics.step_seconds.labels(model, "/drift", "predict")
        self.drift_test = metrics.step_seconds.labels(model, "/drift", "test")

    def show_classes(self, labels: Sequence[str]) -> None:
        """Report each class as found zero times, where there are not very many."""
        for label in labels if len(labels) <= MAX_UNSEEN_CLASSES else ():
            self.count_class(label, 0)

    def count_classified(
        self, best: Sequence[Sequence[Prediction]], *, decode: float, predict: float
    ) -> None:
        """Count images that were classified together, by their best class, and the seconds of each step."""
        self.classify_images.observe(len(best))
        self.classify_decode.observe(decode)
        self.classify_predict.observe(predict)
        for top in best:
            self.count_class(top[0].label, 1)
            self.confidence.observe(top[0].probability)

    def count_class(self, label: str, images: int) -> None:
        if label not in self.images:
            self.images[label] = self.metrics.images.labels(self.model, label)
        self.images[label].inc(images)

    def count_rejected(self, problems: Iterable[Problem]) -> None:
        """Count images that cannot be used, each with the problem that it has."""
        for problem in problems:
            self.metrics.rejected.labels(self.model, problem.kind).inc()

    def count_odd(self, warnings: Iterable[WarningKind]) -> None:
        """Count images that are answered with a warning, each with its kind."""
        for warning in warnings:
            self.metrics.odd.labels(self.model, warning).inc()

    def count_test(self, report: DriftReport) -> None:
        """Count a drift test, and report its result."""
        names = self.model, report.detector
        self.metrics.tests.labels(*names, RESULTS[report.is_drift]).inc()
        self.metrics.p_value.labels(*names).set(report.p_value)
        self.metrics.score.labels(*names).set(report.score)
        self.metrics.alpha.labels(*names).set(report.alpha)

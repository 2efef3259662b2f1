"""Metrics: what the pages list is what /metrics of the real service gives, of all its workers together."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain

import httpx
import numpy as np
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.metrics import metrics, reason_of
from serving.problems import document_of, problem_document
from serving.schemas import Prediction
from tests.support.documentation import TEXT
from tests.support.processes import worker_that_said, workers_of
from vision.errors import UndecodableImageError

PREFIX = "driftbento_"
WORKERS, ASKED = 2, 8  # times, each worker as often as the other
WITHIN_SECONDS = 60  # on a busy machine


def families(client: httpx.Client) -> dict:
    """Return what /metrics gives, by name."""
    return {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}


def value(client: httpx.Client, name: str, **labels: str) -> float:
    """Return the value of one sample, which must be there."""
    samples = [sample for family in families(client).values() for sample in family.samples]
    (found,) = (sample.value for sample in samples if (sample.name, sample.labels) == (name, labels))
    return found


@pytest.fixture(scope="module")
def digits(as_files, held_out) -> list:
    return as_files(held_out.images[:32])


@pytest.fixture(scope="module")
def found(store, serve, digits) -> Iterator[tuple[httpx.Client, list[dict]]]:
    """A client of a service with two workers that have been asked everything, and its answers."""
    damaged = ("images", ("x.png", b"?", "image/png"))
    with serve(store, WORKERS=str(WORKERS)) as client:
        workers, answers = workers_of(client), []

        def ask(other: httpx.Client) -> psutil.Process:
            other.post("/drift", files=digits, data={"detector": "ks", "alpha": "0.01"})
            other.post("/drift", files=[*digits, damaged])
            other.post("/classify", files=[damaged])
            last = other.post("/classify", files=[*digits, damaged])
            answers.extend(last.json()["results"])
            return worker_that_said(last, workers)

        with ExitStack() as stack, ThreadPoolExecutor(WORKERS) as pool:
            clients = one_of_each(client, stack)
            asked = Counter(chain(*(pool.map(ask, clients) for _ in range(ASKED // WORKERS))))
        assert asked == dict.fromkeys(workers, ASKED // WORKERS)
        yield client, answers


def one_of_each(client: httpx.Client, stack: ExitStack) -> list[httpx.Client]:
    """Return clients of which each is connected with another worker, with all workers together."""
    workers, deadline = workers_of(client), time.monotonic() + WITHIN_SECONDS
    found = dict[psutil.Process, httpx.Client]()
    while len(found) < len(workers):
        assert time.monotonic() < deadline
        other = stack.enter_context(httpx.Client(base_url=client.base_url, timeout=60))
        found.setdefault(worker_that_said(other.get("/readyz"), workers), other)
    return list(found.values())


@pytest.fixture
def client(found) -> httpx.Client:
    return found[0]


def test_what_the_pages_list_is_what_there_is_with_its_type_and_labels(client):
    rows = re.findall(rf"^\| `({PREFIX}\w+)` \| (\w+) \| (.*?) \| .+ \|$", TEXT, re.MULTILINE)

    measured = families(client)

    listed = {
        name.removesuffix("_total"): (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in rows
    }
    assert listed == {
        name: (family.type, set().union(*(sample.labels for sample in family.samples)) - {"le"})
        for name, family in measured.items()
        if name.startswith(PREFIX)
    }


def test_what_the_pages_list_of_bentomls_own_is_what_there_is_with_its_labels(client):
    listing = TEXT[TEXT.index("\nBentoML adds") : TEXT.index("\nA path that the service does not have")]
    of_all, *items = (re.findall(r"`(\w+)`", item) for item in listing.split("\n- "))
    listed = dict[str, set[str]]()
    for words in items:
        names = [word for word in words if word.startswith("bentoml_")]
        listed |= {name.removesuffix("_total"): {*of_all, *words} - {*names} for name in names}

    measured = families(client)

    assert listed == {
        name: set().union(*(sample.labels for sample in family.samples)) - {"le"}
        for name, family in measured.items()
        if name.startswith("bentoml_")
    }


def test_requests_that_wait_are_counted_in_all_workers_together(client, png):
    picture = png(np.zeros((1200, 1200), np.uint8))
    request = httpx.Request(
        "POST", client.base_url.join("/drift"), files=[("images", (f"{n}.png", picture)) for n in range(500)]
    )
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    long_work = f"POST /drift HTTP/1.1\r\n{head}\r\n".encode() + request.read()
    before = waiting(client)

    with ExitStack() as stack:
        for one in one_of_each(client, stack):
            stream = one.get("/readyz").extensions["network_stream"]
            stream.write(long_work, timeout=60)
        wait_until(lambda: waiting(client) == WORKERS)
    wait_until(lambda: waiting(client) == 0)  # since those who asked have left

    assert before == 0


def waiting(client: httpx.Client) -> float:
    return value(client, PREFIX + "queue_requests", endpoint="/drift")


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_images_are_counted_by_the_class_found_whichever_worker_found_it(found):
    client, answers = found
    labels = Counter(answer["label"] for answer in answers if "label" in answer)

    samples = families(client)[PREFIX + "images_classified"].samples

    assert {sample.labels["label"]: sample.value for sample in samples} == {
        str(i): labels[str(i)] for i in range(10)
    }
    assert value(client, PREFIX + "confidence_count", model="mnist") == labels.total()
    assert value(client, PREFIX + "confidence_sum", model="mnist") == pytest.approx(
        sum(answer["probability"] for answer in answers if "label" in answer)
    )


def test_images_and_requests_with_a_problem_are_counted_by_its_kind(client):
    rejected = value(client, PREFIX + "images_rejected_total", model="mnist", reason="undecodable-image")
    refused = value(client, PREFIX + "requests_refused_total", reason="undecodable-image")

    assert (rejected, refused) == (3 * ASKED, ASKED)


def test_a_drift_test_is_counted_by_its_result_and_the_last_of_each_detector_is_shown(client, digits):
    before = value(client, PREFIX + "drift_tests_total", model="mnist", detector="mmd", result="no_drift")

    answer = client.post("/drift", files=digits, data={"alpha": "0.0125"}).json()

    of = {"model": "mnist", "detector": "mmd"}
    assert value(client, PREFIX + "drift_tests_total", **of, result="no_drift") == before + 1 == ASKED + 1
    assert value(client, PREFIX + "drift_tests_total", **of, result="drift") == 0
    assert value(client, PREFIX + "drift_p_value", **of) == answer["p_value"]
    assert value(client, PREFIX + "drift_score", **of) == pytest.approx(answer["score"])
    assert value(client, PREFIX + "drift_alpha", **of) == 0.0125
    assert value(client, PREFIX + "drift_alpha", model="mnist", detector="ks") == 0.01


def test_a_detector_that_nobody_has_asked_has_made_no_test_and_has_no_p_value(client):
    of = {"model": "mnist", "detector": "label_shift"}

    assert value(client, PREFIX + "drift_tests_total", **of, result="drift") == 0
    assert of not in [sample.labels for sample in families(client)[PREFIX + "drift_p_value"].samples]


@pytest.mark.parametrize(
    ("endpoint", "steps"),
    [("/classify", ["decode", "predict"]), ("/drift", ["decode", "predict", "test"])],
    ids=["classify", "drift"],
)
def test_each_batch_is_measured_by_its_size_and_how_long_its_steps_take(client, endpoint, steps):
    of = {"model": "mnist", "endpoint": endpoint}

    batches = value(client, PREFIX + "batch_images_count", **of)
    seconds = [value(client, PREFIX + "step_seconds_sum", **of, step=step) for step in steps]

    assert batches >= ASKED
    assert value(client, PREFIX + "batch_images_sum", **of) >= 32 * batches
    assert all(0 < one < 60 for one in seconds)


def test_the_memory_of_all_workers_is_added_up(client):
    one = 100 * 2**20  # bytes, less than PyTorch alone takes

    assert 2 * one < value(client, PREFIX + "resident_memory_bytes") < psutil.virtual_memory().total


def test_whoever_asks_for_paths_that_there_are_not_adds_nothing(client):
    for path in ("/a", "/b", "/static_content/c", "/classify/d"):
        assert path in client.get(path).json()["detail"]

    endpoints = {
        sample.labels["endpoint"]
        for family in families(client).values()
        for sample in family.samples
        if family.name == "bentoml_service_request"
    }
    assert endpoints <= {"/classify", "/drift", "/readyz", "other"}
    assert "other" in endpoints


def test_a_model_that_fails_its_golden_check_is_not_ready(
    store, tmp_path, serve, copy_store, spoil_golden, model_folder
):
    home = copy_store(store, tmp_path / "home")
    spoil_golden(home)

    with serve(home, ready="/livez") as client:
        ready = value(client, PREFIX + "model_ready", model="mnist", version=model_folder.name)

    assert ready == 0


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (document_of(UndecodableImageError("")), "undecodable-image"),
        (problem_document(405, ""), "method-not-allowed"),
    ],
    ids=["a kind of its own", "a status that says it all"],
)
def test_a_reason_is_a_name(document, reason):
    assert reason_of(document) == reason


def test_doubtful_images_and_blank_ones_are_counted_by_what_is_wrong_with_them(client, png):
    pair, blank = np.zeros((100, 160), np.uint8), np.full((100, 160), 200, np.uint8)
    pair[20:80, 30:40] = pair[20:80, 110:120] = 255

    answer = client.post("/classify", files=[("images", ("x.png", png(image))) for image in (pair, blank)])

    assert answer.status_code == 200
    assert value(client, PREFIX + "images_odd_total", model="mnist", reason="several-digits") == 1
    assert value(client, PREFIX + "images_rejected_total", model="mnist", reason="no-digit") == 1


@pytest.mark.parametrize(
    ("model", "n_classes", "at_first", "after"),
    [
        pytest.param("few", 100, {str(number): 0 for number in range(100)}, 100, id="a hundred classes"),
        pytest.param("many", 1000, {}, 2, id="a thousand"),
    ],
)
def test_of_many_classes_only_those_that_were_found_are_there(model, n_classes, at_first, after):
    """A thousand, nearly all of them zero, were 104 kB at each scrape."""
    meter = metrics().meter(model)
    meter.show_classes([str(number) for number in range(n_classes)])
    before = counted(model)

    for class_id in (7, n_classes - 1, 7):
        best = [[Prediction(label=str(class_id), class_id=class_id, probability=0.99)]]
        meter.count_classified(best, decode=1e-4, predict=1e-4)
    found = counted(model)

    assert before == at_first
    assert len(found) == after
    assert {label: count for label, count in found.items() if count} == {"7": 2, str(n_classes - 1): 1}


def counted(model: str) -> dict[str, float]:
    """Return how many images this process has counted of each class of a model."""
    samples = [sample for family in metrics().images.collect() for sample in family.samples]
    return {
        sample.labels["label"]: sample.value
        for sample in samples
        if sample.name == PREFIX + "images_classified_total" and sample.labels["model"] == model
    }


def test_to_measure_a_digit_takes_some_microseconds():
    """A digit is answered in 700, of which this takes 30, and 10 where nothing else runs between."""
    meter = metrics().meter("measured")
    best = [[Prediction(label="0", class_id=0, probability=0.99)]]

    def measure() -> None:
        meter.count_classified(best, decode=1e-4, predict=1e-4)

    assert min(seconds_of(measure) for _ in range(20)) < 100e-6


def seconds_of(work: Callable[[], None], times: int = 100) -> float:
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times

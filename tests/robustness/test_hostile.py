"""Ten thousand requests that make no sense: each is told why, and the others notice nothing of it."""

import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from torch import Tensor

from bench.footprint import Footprint, at_rest, settled
from bench.malformed import KINDS, Kind
from bench.wire import Wire
from tests.support.processes import worker_of
from vision.models.classifier import Classifier

REQUESTS, WARM_UP_REQUESTS, CLIENTS = 10_000, 2_000, 8
SLOW_REQUESTS = 20  # of each kind whose answer comes after READ_TIMEOUT_SECONDS
QUICK, SLOW = [kind for kind in KINDS if not kind.is_slow], [kind for kind in KINDS if kind.is_slow]
AT_REST_WITHIN_SECONDS = 60


def complaints(client: httpx.Client, kinds: Sequence[Kind], seed: int) -> list[str]:
    """Send a malformed request of each of these kinds, and say what was wrong with the answers."""
    generator = random.Random(seed)
    wire = Wire(client.base_url.host, client.base_url.port)
    found = []
    for kind in kinds:
        found.append(kind.complaint(wire.ask(kind.make(generator))))
        if kind.family == "messages":  # of which the end is where the service and the sender disagree
            wire.close()
    wire.close()
    return list(filter(None, found))


def send_all(client: httpx.Client, kinds: Sequence[Kind], seed: int, clients: int) -> list[str]:
    """Send malformed requests of these kinds, in any order and several at a time."""
    shuffled = random.Random(seed).sample(kinds, len(kinds))
    with ThreadPoolExecutor(clients) as pool:
        parts = [
            pool.submit(complaints, client, shuffled[number::clients], seed + number)
            for number in range(clients)
        ]
        return [complaint for part in parts for complaint in part.result()]


def in_turn(kinds: Sequence[Kind], count: int) -> list[Kind]:
    return [kinds[number % len(kinds)] for number in range(count)]


def labels_of(client: httpx.Client, files: list) -> list[str]:
    answer = client.post("/classify", files=files)
    assert answer.status_code == 200, answer.text
    return [result["label"] for result in answer.json()["results"]]


def labels_by(classifier: Classifier, digits: Tensor) -> list[str]:
    """Return what a model says of digits as they are, without a service around it."""
    probabilities, _ = classifier.predict(list(digits.unsqueeze(1).numpy()))
    return [classifier.labels[class_id] for class_id in probabilities.argmax(dim=1)]


def test_there_are_many_kinds_of_malformed_requests():
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 100
    assert len({kind.family for kind in KINDS}) == 6


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_ten_thousand_malformed_requests_are_told_why_and_leave_nothing_behind(
    store, serve, classifier, as_files, held_out
):
    digits = held_out.images[:40]
    files, known = as_files(digits), labels_by(classifier, digits)
    quick, slow = in_turn(QUICK, REQUESTS - SLOW_REQUESTS * len(SLOW)), SLOW * SLOW_REQUESTS
    between = []
    with serve(store, READ_TIMEOUT_SECONDS="2") as client, ThreadPoolExecutor(2) as pool:
        worker = worker_of(client)
        before = labels_of(client, files)
        warm_up = send_all(client, in_turn(QUICK, WARM_UP_REQUESTS) + SLOW, 1, CLIENTS)
        at_first = settled(lambda: Footprint.of([worker]), within_seconds=AT_REST_WITHIN_SECONDS)

        sent = [
            pool.submit(send_all, client, quick, 2, CLIENTS),
            pool.submit(send_all, client, slow, 3, len(slow)),
        ]
        while not all(part.done() for part in sent):
            between.append(labels_of(client, files))
        found = warm_up + sent[0].result() + sent[1].result()
        at_last = at_rest(lambda: Footprint.of([worker]), at_first, within_seconds=AT_REST_WITHIN_SECONDS)
        after = labels_of(client, files)

    assert len(quick) + len(slow) == REQUESTS
    assert Counter(found) == {}
    assert before == after == known
    assert between == [known] * len(between) != []
    assert at_last.growth_since(at_first) == []


@pytest.mark.parametrize("kind", QUICK, ids=lambda kind: kind.name)
def test_a_malformed_request_is_told_why(service, kind):
    found = complaints(service, [kind] * 3, seed=4)

    assert found == []

"""`python -m bench.soak`: it passes a service that is well, and fails one that leaks or answers wrongly."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from bench.soak.clients import BROKEN_OFF, Visit
from bench.soak.counts import Counts, unaccounted

PROXY = Path(__file__).parents[2] / "support" / "leaky_proxy.py"
BRIEFLY = ("--seconds", "3", "--warm-up", "3", "--clients", "4")


@pytest.fixture(scope="module")
def quick_service(store, serve) -> Iterator[httpx.Client]:
    """A service that does not wait for long for what does not come."""
    with serve(store, READ_TIMEOUT_SECONDS="1") as client:
        yield client


@contextmanager
def proxy(service: httpx.Client, folder: Path, *faults: str) -> Iterator[list[str]]:
    """Run a proxy of a service that has faults, and give the options that have it soaked."""
    command = [sys.executable, str(PROXY), str(service.base_url.port), *faults]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"TMPDIR": str(folder)}, text=True) as process:
        try:
            port = process.stdout.readline().strip()
            yield ["--url", f"http://127.0.0.1:{port}", "--pid", str(process.pid)]
        finally:
            process.kill()


def test_a_service_that_is_well_passes_and_the_table_accounts_for_every_request(
    start_benchmark, still_running, store
):
    benchmark = start_benchmark("bench.soak", store, *BRIEFLY)

    printed, errors = benchmark.communicate()

    assert benchmark.returncode == 0, printed + errors
    assert "All is well." in printed
    sent, broken_off, lost, wrong = totals(printed)
    answered = sum(int(count.replace(",", "")) for count in re.findall(r"\d{3}: ([\d,]+)", all_rows(printed)))
    assert sent == answered + broken_off > 100
    assert broken_off > 0
    assert lost == wrong == 0
    assert {"memory", "handles", "threads", "files"} <= set(re.findall(r"│ (\w+)", printed))
    assert still_running() == []


def all_rows(printed: str) -> str:
    """Return the part of the table that is about all requests."""
    return printed[printed.index("│ all") : printed.index("└")]


def totals(printed: str) -> tuple[int, int, int, int]:
    cells = [cell.strip().replace(",", "") for cell in all_rows(printed).splitlines()[0].split("│")]
    return int(cells[2]), int(cells[4]), int(cells[5]), int(cells[6])


def test_a_service_that_leaks_fails(start_benchmark, quick_service, tmp_path):
    with proxy(quick_service, tmp_path, "memory", "handles", "threads", "files") as options:
        benchmark = start_benchmark("bench.soak", tmp_path, *BRIEFLY, "--patience", "4", *options)
        printed, errors = benchmark.communicate()

    assert benchmark.returncode == 1, printed + errors
    for leaked in ("memory", "handles", "threads", "temporary files"):
        assert f"{leaked} grew from" in printed


def test_a_service_that_errs_fails(start_benchmark, quick_service, tmp_path):
    with proxy(quick_service, tmp_path, "500", "labels", "dropped") as options:
        benchmark = start_benchmark("bench.soak", tmp_path, *BRIEFLY, *options)
        printed, errors = benchmark.communicate()

    assert benchmark.returncode == 1, printed + errors
    _, _, lost, wrong = totals(printed)
    (defects,) = re.findall(r"500: ([\d,]+)", all_rows(printed))
    assert lost > 0
    assert wrong > lost + int(defects.replace(",", "")) > lost
    assert "answers were 500" in printed
    assert "grew" not in printed


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        pytest.param("503", r"answers were 503", id="stops answering"),
        pytest.param("429", r"[\d,]+ of [\d,]+ good requests were answered 429", id="is always too busy"),
        pytest.param(
            "uncounted", r"answers with a 200 of /models were counted", id="answers what nobody has heard"
        ),
    ],
)
def test_a_service_that_refuses_or_miscounts_fails(start_benchmark, quick_service, tmp_path, fault, says):
    with proxy(quick_service, tmp_path, fault) as options:
        benchmark = start_benchmark("bench.soak", tmp_path, *BRIEFLY, *options)
        printed, errors = benchmark.communicate()

    assert benchmark.returncode == 1, printed + errors
    assert re.search(says, printed)
    assert "grew" not in printed


def of_classify(outcome: str, count: int) -> list[Visit]:
    return [Visit("classify one", outcome, 0, endpoint="/classify")] * count


@pytest.mark.parametrize(
    ("good", "problems", "is_right"),
    [
        pytest.param(10, 3, True, id="as many as came"),
        pytest.param(12, 9, True, id="also those of clients that left"),
        pytest.param(9, 3, False, id="an answer that the service did not give"),
        pytest.param(13, 3, False, id="an answer that did not come"),
        pytest.param(10, 2, False, id="a problem that the service did not have"),
        pytest.param(10, 10, False, id="a problem that nobody was told"),
    ],
)
def test_what_the_service_has_counted_is_what_its_clients_got(good, problems, is_right):
    visits = [
        *of_classify("200", 10),
        *of_classify(BROKEN_OFF, 2),
        *[Visit("left midway", BROKEN_OFF, 0)] * 3,
    ]
    visits += [Visit("malformed: fields", "400", 0)] * 2 + [Visit("malformed: messages", "400", 0)]

    found = unaccounted(visits, Counts({"/classify": good}, problems))

    assert (found == []) == is_right


def test_what_stands_between_changes_nothing_where_it_has_no_fault(start_benchmark, quick_service, tmp_path):
    with proxy(quick_service, tmp_path) as options:
        benchmark = start_benchmark("bench.soak", tmp_path, *BRIEFLY, *options)
        printed, errors = benchmark.communicate()

    assert benchmark.returncode == 0, printed + errors


def test_all_that_it_started_ends_with_it_when_it_is_interrupted(start_benchmark, interrupt, store):
    benchmark = start_benchmark("bench.soak", store)

    interrupt(benchmark, lambda commands: any("worker.service" in command for command in commands))


def test_a_store_without_a_model_is_an_error_that_says_how_to_train_one(start_benchmark, tmp_path):
    benchmark = start_benchmark("bench.soak", tmp_path)

    _, errors = benchmark.communicate()

    assert benchmark.returncode == 1
    assert "python -m train mnist" in errors

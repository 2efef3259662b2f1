"""`python -m bench.serving`: its table, its parts, and that nothing it started is left over."""

import http.server
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest
import torch
from PIL import Image

from bench.bodies import Body, form
from bench.peers import torchserve
from bench.peers.environment import PeersUnavailableError, interpreter, make
from bench.processes import running as started
from bench.raw import GROUP_SIZES, WAYS, best_rate
from bench.serving.__main__ import Measured, cells, compare, parser
from bench.serving.machine_load import QUIET, TRIES, least_disturbed
from bench.serving.workload import Workload, photographs
from bench.serving.wrk import INSTALL, NoResultError, Sample, Target, is_installed, load

STARTED_WITHIN_SECONDS = 60
needs_wrk = pytest.mark.skipif(not is_installed(), reason=INSTALL)


@pytest.fixture
def peers() -> None:
    """Skip where the peers' packages cannot be installed."""
    try:
        interpreter()
    except PeersUnavailableError as error:
        pytest.skip(str(error))


@contextmanager
def answering(answer: Callable[[int], int]) -> Iterator[tuple[Target, list[tuple[str, str, bytes]]]]:
    """A server that answers its n-th request with a status, and a list of what it was sent."""
    sent: list[tuple[str, str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent.append((self.path, self.headers["Content-Type"], body))
            self.send_response(answer(len(sent)))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_) -> None:
            pass

    bodies = [Body("text/plain", b"one"), Body("image/png", bytes(range(256)))]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Target(f"127.0.0.1:{server.server_port}", "/there", bodies, psutil.Process()), sent
        server.shutdown()


@needs_wrk
def test_the_bodies_are_sent_in_turn_with_their_types_until_so_many_are_answered(tmp_path):
    with answering(lambda _: 200) as (target, sent):
        sample = load(target, 1, tmp_path, requests=5)

    assert sample.requests == 5
    assert sample.errors == {}
    assert 0 < sample.p50 <= sample.p99
    expected = [("/there", body.content_type, body.content) for body in target.bodies]
    assert sorted(sent[:2]) == sorted(expected)
    assert sent[2:5] == [*sent[:2], sent[0]]


@needs_wrk
def test_answers_other_than_200_are_counted_by_their_status_and_are_no_images(tmp_path):
    statuses = {2: 503, 4: 404, 5: 503}
    with answering(lambda number: statuses.get(number, 200)) as (target, _):
        sample = load(target, 1, tmp_path, requests=8)

    assert sample.errors == {"503": 2, "404": 1}
    assert sample.rate == pytest.approx(5 / sample.seconds)


@needs_wrk
def test_a_server_that_is_not_there_gives_no_result(tmp_path):
    with answering(lambda _: 200) as (target, _):
        pass

    with pytest.raises(NoResultError):
        load(target, 1, tmp_path, seconds=1)


def test_a_disturbed_measurement_is_made_again_and_the_least_disturbed_counts():
    disturbed = [sample(others=others) for others in (3 * QUIET, 2 * QUIET, 4 * QUIET, 0.0)]
    left = iter(disturbed)

    assert least_disturbed(lambda: next(left)) is disturbed[1]
    assert len(list(left)) == len(disturbed) - TRIES


def test_a_quiet_measurement_is_not_made_again():
    left = iter([sample(others=3 * QUIET), sample(others=QUIET / 2), sample(others=0.0)])

    assert least_disturbed(lambda: next(left)).others == QUIET / 2


def test_a_row_shows_its_share_of_the_limit_and_marks_what_was_disturbed():
    row = cells(Measured(8, "", sample(others=2 * QUIET), 1234.5), limit=400.0)

    assert row["images/s"] == "100.0*"
    assert row["of limit"] == "25%"
    assert row["p50"] == "12.0 ms"
    assert row["p99"] == "1,500 ms"
    assert row["errors"] == "3"
    assert row["memory"] == "1,234 MB"


def test_the_forward_limit_is_that_of_the_fastest_way_and_group_size():
    """A model that takes equally long for any group of images is fastest with the largest."""

    def script(images):
        time.sleep(0.002)
        return images, images

    rate = best_rate(script, torch.zeros(3, 1, 2, 2, dtype=torch.uint8), seconds=0.05)

    assert rate.images == max(GROUP_SIZES)
    assert (rate.streams, rate.threads) in WAYS
    assert rate.images_per_second > 0


def test_photographs_are_different_jpeg_files_of_one_size():
    files = photographs(4)

    assert len(set(files)) == 4
    for file in files:
        picture = Image.open(io.BytesIO(file))
        assert (picture.format, picture.size) == ("JPEG", (224, 224))


def test_a_form_holds_its_files_and_fields():
    body = form([("images", ("a.png", b"pixels", "image/png"))], {"model": "mnist"})

    assert body.content_type.startswith("multipart/form-data; boundary=")
    assert b'name="model"\r\n\r\nmnist' in body.content
    assert b'filename="a.png"\r\nContent-Type: image/png\r\n\r\npixels' in body.content


def test_torchserve_loads_the_model_whatever_is_set_for_it():
    """A model of config.properties that is not in load_models answers 404."""
    default, tuned = (torchserve.settings("mnist", 1234, 1235, chosen) for chosen in ({}, {"batchSize": 8}))

    assert "load_models=mnist.mar" in default.splitlines()
    assert "models=" not in default.replace("load_models=", "")
    assert "load_models=mnist.mar" in tuned.splitlines()
    (models,) = [line for line in tuned.splitlines() if line.startswith("models=")]
    assert json.loads(models.removeprefix("models="))["mnist"]["1.0"]["batchSize"] == 8


def test_a_program_that_is_stopped_takes_what_it_has_started_with_it():
    with started(["sh", "-c", "sleep 60 & sleep 60"]) as process:
        deadline = time.monotonic() + STARTED_WITHIN_SECONDS
        while len(process.children()) < 2:
            assert time.monotonic() < deadline
        children = process.children()

    assert not [child for child in children if child.is_running() and child.status() != "zombie"]


@needs_wrk
def test_the_table_has_a_row_for_each_server_and_nothing_is_left_running(
    peers, start_benchmark, still_running, store
):
    options = ["--only", "service", "fastapi", "--model", "mnist", "--clients", "2"]
    benchmark = start_benchmark("bench.serving", store, *options, "--seconds", "1", "--tries", "1")

    printed, errors = benchmark.communicate()

    assert benchmark.returncode == 0, errors
    rows = table(printed)
    assert len({row[1] for row in rows}) == len(rows) == 4
    for model, server, clients, rate, share, median, p99, failed, memory in rows:
        assert (model, clients, failed) == ("mnist", "2", "0")
        assert server.startswith(("this service", "FastAPI"))
        assert float(rate.removesuffix("*").replace(",", "")) > 0
        assert share.endswith("%")
        assert 0 < milliseconds(median) <= milliseconds(p99)
        assert float(memory.removesuffix(" MB").replace(",", "")) > 0
    for form_of_the_model in ("as it comes", "frozen, channels last", "as this service runs it, in float32"):
        assert f"The forward pass of mnist alone, {form_of_the_model}: " in printed
    assert still_running() == []


def test_peers_that_cannot_be_installed_have_a_row_that_says_so(monkeypatch, model_folder, tmp_path):
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("bench.peers.environment.ROOT", tmp_path)
    monkeypatch.setattr("bench.peers.environment.make", make.__wrapped__)
    options = parser().parse_args(["--only", "fastapi", "--requests", "2000"])
    digits = Workload("mnist", model_folder, "digits", [b""], "image/png")

    rows, notes = compare(digits, options, tmp_path)

    assert [row["images/s"] for row in rows] == ["not run", "not run"]
    assert all("could not be installed" in note for note in notes)


@needs_wrk
def test_all_that_it_started_ends_with_it_when_it_is_interrupted(start_benchmark, interrupt, store):
    options = ["--only", "service", "--model", "mnist", "--requests", "1000000"]
    benchmark = start_benchmark("bench.serving", store, *options)

    interrupt(benchmark, lambda commands: any(command.startswith("wrk") for command in commands))


def test_a_machine_without_wrk_is_told_how_to_get_it(monkeypatch, start_benchmark, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    benchmark = start_benchmark("bench.serving", tmp_path)

    _, errors = benchmark.communicate()

    assert benchmark.returncode == 1
    assert "apt install wrk" in errors


def sample(*, others: float) -> Sample:
    return Sample(203, 2.0, 0.012, 1.5, 2.0, {"503": 3}, others)


def table(printed: str) -> list[list[str]]:
    lines = [line for line in printed.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]


def milliseconds(cell: str) -> float:
    return float(cell.removesuffix(" ms").replace(",", ""))

"""Archives for TorchServe: what is in them, when there is none, and that it answers as the service does."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from PIL import Image

from bench.peers import torchserve as peer
from bench.peers.environment import PeersUnavailableError, interpreter
from cli.train import main
from train.torchserve import index_to_name

ROOT = Path(__file__).parents[2]
N_CLASSES = 10
BATCH_SIZE = 8
MAX_BATCH_DELAY = 2000  # milliseconds: long enough for requests that are sent together to meet
LOGGED_WITHIN_SECONDS = 10


@dataclass(frozen=True)
class TorchServe:
    """TorchServe, running with the trained model."""

    model: str
    management: str
    log: Path

    def classify(self, files: Sequence[bytes], top_k: int = N_CLASSES) -> list[httpx.Response]:
        """Send files at the same time, each in a request of its own, and return the answers in order."""

        def send(file: bytes) -> httpx.Response:
            return httpx.post(self.model, data={"top_k": top_k}, files={"data": file}, timeout=60)

        with ThreadPoolExecutor(len(files)) as threads:
            return list(threads.map(send, files))

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        (model,) = httpx.get(self.management).json()
        return [worker["pid"] for worker in model["workers"]]

    def batches(self) -> int:
        """Return how many batches its workers have been given, by their log."""
        return self.log.read_text().count("Backend received inference")


@pytest.fixture(scope="module")
def installed() -> Path:
    """The Python that has TorchServe and its archiver."""
    try:
        return interpreter()
    except PeersUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def mar(store, installed, tmp_path_factory) -> Path:
    """The trained model's archive, made by the command line."""
    folder = tmp_path_factory.mktemp("archive") / "model_store"
    made = archive(
        "--batch-size",
        BATCH_SIZE,
        "--max-batch-delay",
        MAX_BATCH_DELAY,
        to=folder,
        home=store,
        python=installed,
    )
    assert made.returncode == 0, made.stderr
    return folder / "mnist.mar"


@pytest.fixture(scope="module")
def torchserve(mar, installed, tmp_path_factory) -> Iterator[TorchServe]:
    if not shutil.which("java"):
        pytest.skip("TorchServe needs Java")
    folder = tmp_path_factory.mktemp("torchserve")
    with running(mar, folder) as server:
        yield server


@contextmanager
def running(mar: Path, folder: Path) -> Iterator[TorchServe]:
    with peer.serving(mar, folder) as (predictions, management):
        yield TorchServe(
            f"{predictions}/predictions/{mar.stem}",
            f"{management}/models/{mar.stem}",
            folder / "logs" / "model_log.log",
        )


@pytest.fixture
def pictures(held_out, png) -> list[bytes]:
    """Files of digits as MNIST has them, and of large ones in colour, dark on light, turned, transparent."""
    large = [
        Image.fromarray(255 - image.numpy()).resize((300, 240)).convert("RGB")
        for image in held_out.images[:3]
    ]
    turned, transparent = Image.Exif(), large[2].convert("RGBA")
    turned[0x0112] = 6
    transparent.putalpha(128)
    return [
        *(png(image) for image in held_out.images[3:6]),
        encoded(large[0], "JPEG"),
        encoded(large[1], "JPEG", exif=turned),
        encoded(transparent, "PNG"),
    ]


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def archive(*options: str | int, to: Path, home: Path, python: Path) -> subprocess.CompletedProcess[str]:
    """Make an archive of a model in the store of a home."""
    command = [str(python), "-m", "train", "torchserve", "--export-path", str(to), *map(str, options)]
    env = os.environ | {"BENTOML_HOME": str(home)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.thorough
def test_torchserve_gives_the_probabilities_that_the_service_gives(torchserve, service, pictures):
    files = [("images", picture) for picture in pictures]
    from_service = service.post("/classify", files=files, data={"top_k": N_CLASSES}).json()["results"]

    from_torchserve = [answer.json() for answer in torchserve.classify(pictures)]

    for ours, theirs in zip(from_service, from_torchserve, strict=True):
        expected = {named["label"]: named["probability"] for named in ours["top"]}
        assert theirs == pytest.approx(expected, abs=1e-4)
        assert next(iter(theirs)) == ours["label"]
    assert len({next(iter(answer)) for answer in from_torchserve}) > 1  # else any order would do


@pytest.mark.thorough
def test_torchserve_gives_the_probabilities_that_the_service_gives_for_photographs(
    resnet_home, installed, photographs, serve, tmp_path
):
    if not shutil.which("java"):
        pytest.skip("TorchServe needs Java")
    made = archive("--model", "resnet", to=tmp_path / "model_store", home=resnet_home, python=installed)
    assert made.returncode == 0, made.stderr
    pictures = [encoded(photograph, "JPEG") for photograph in photographs]
    files, form = [("images", picture) for picture in pictures], {"model": "resnet", "top_k": 1000}
    with serve(resnet_home, PRECISION="float32") as service:
        from_service = service.post("/classify", files=files, data=form).raise_for_status().json()["results"]

    with running(tmp_path / "model_store" / "resnet.mar", tmp_path) as torchserve:
        from_torchserve = [answer.json() for answer in torchserve.classify(pictures, 1000)]

    names = index_to_name([named["label"] for named in sorted(from_service[0]["top"], key=class_id)])
    for ours, theirs in zip(from_service, from_torchserve, strict=True):
        expected = {names[str(named["class_id"])]: named["probability"] for named in ours["top"]}
        assert theirs == pytest.approx(expected, abs=1e-4)
    assert len({next(iter(answer)) for answer in from_torchserve}) == len(photographs)


def class_id(named: dict) -> int:
    return named["class_id"]


@pytest.mark.thorough
def test_requests_that_share_a_batch_each_get_their_own_answer(torchserve, held_out, png, classifier):
    images = held_out.images[:BATCH_SIZE]
    before = torchserve.batches()

    answers = torchserve.classify([png(image) for image in images])

    expected, _ = classifier.predict([image.numpy()[np.newaxis] for image in images])
    for answer, row in zip(answers, expected.tolist(), strict=True):
        assert answer.json() == pytest.approx(dict(zip(classifier.labels, row, strict=True)), abs=1e-4)
    deadline = time.monotonic() + LOGGED_WITHIN_SECONDS
    while torchserve.batches() == before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert torchserve.batches() == before + 1


@pytest.mark.thorough
def test_a_damaged_image_is_refused_alone_and_by_a_worker_that_goes_on(torchserve, pictures):
    good, workers = pictures[0], torchserve.workers()

    first, refused, last = torchserve.classify([good, pictures[3][:500], good])

    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert "damaged" in refused.json()["detail"]
    assert first.status_code == last.status_code == 200
    assert torchserve.workers() == workers


@pytest.mark.thorough
def test_the_archive_holds_the_very_model_of_the_store(mar, model_folder):
    with zipfile.ZipFile(mar) as members:
        manifest = json.loads(members.read("MAR-INF/MANIFEST.json"))["model"]
        names = json.loads(members.read("index_to_name.json"))
        script = members.read("model.pt")

    assert script == (model_folder / "model.pt").read_bytes()
    assert list(names.values()) == json.loads((model_folder / "labels.json").read_text())
    assert (manifest["modelName"], manifest["modelVersion"]) == ("mnist", model_folder.name)


@pytest.mark.thorough
def test_the_archive_brings_all_of_the_service_that_its_handler_needs(mar, tmp_path):
    shutil.unpack_archive(mar, tmp_path, "zip")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    command = [
        sys.executable,
        "-c",
        "import handler as h; print(h.preparation_of.__code__.co_filename)",
    ]
    printed = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    ).stdout

    assert Path(printed.strip()) == tmp_path / "vision" / "preprocessing" / "registry.py"


@pytest.mark.thorough
def test_a_new_archive_takes_the_place_of_the_old_one(store, installed, tmp_path):
    (tmp_path / "mnist.mar").write_text("the old one")
    (version,) = [folder.name for folder in (store / "models" / "mnist").iterdir() if folder.is_dir()]

    made = archive("--model", f"mnist:{version}", to=tmp_path, home=store, python=installed)

    assert made.stdout == f"Wrote mnist:{version} to {tmp_path / 'mnist.mar'}\n"
    assert zipfile.is_zipfile(tmp_path / "mnist.mar")
    assert [file.name for file in tmp_path.iterdir()] == ["mnist.mar"]


@pytest.mark.thorough
def test_an_archive_that_cannot_be_made_leaves_the_old_one(store, installed, copy_store, tmp_path):
    home = copy_store(store, tmp_path / "home")
    (script,) = home.glob("models/mnist/*/model.pt")
    script.unlink()
    folder = tmp_path / "model_store"
    folder.mkdir()
    (folder / "mnist.mar").write_text("the old one")

    made = archive(to=folder, home=home, python=installed)

    assert made.returncode == 2
    assert "torch-model-archiver failed" in made.stderr
    assert (folder / "mnist.mar").read_text() == "the old one"
    assert [file.name for file in folder.iterdir()] == ["mnist.mar"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("model", "what_to_do"),
    [
        ("mnist", "`python -m train mnist`"),
        ("mnist:gone", "`bentoml models list`"),
        ("no name!", "`bentoml models list`"),
    ],
    ids=["none", "version", "name"],
)
def test_a_store_without_the_model_ends_with_status_2_and_what_to_do(model, what_to_do, refused, tmp_path):
    line = refused(["--model", model, "--export-path", str(tmp_path / "out")], tmp_path)

    assert what_to_do in line
    assert not (tmp_path / "out").exists()


@pytest.mark.thorough
def test_a_folder_that_cannot_be_written_to_ends_with_status_2(store, refused, tmp_path):
    (tmp_path / "taken").write_text("a file")

    line = refused(["--export-path", str(tmp_path / "taken")], store)

    assert str(tmp_path / "taken") in line


@pytest.mark.thorough
def test_without_the_archiver_it_says_what_to_install(store, refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_archiver", None)

    line = refused(["--export-path", str(tmp_path)], store)

    assert "pip install torchserve torch-model-archiver" in line


@pytest.fixture
def refused(installed, monkeypatch, capsys) -> Iterator[Callable[[list[str], Path], str]]:
    """Return a function that asks for an archive from the store of a home, and returns why there is none."""
    (packages,) = installed.parent.parent.glob("lib/python*/site-packages")
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])

    def run(options: list[str], home: Path) -> str:
        (home / "models").mkdir(exist_ok=True)
        BentoMLContainer.model_store.set(ModelStore(home / "models"))
        assert main(["torchserve", *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    yield run
    BentoMLContainer.model_store.reset()


def test_class_names_that_are_shared_are_told_apart_by_their_index():
    """ImageNet has two cranes, and an answer has one probability for each name."""
    assert index_to_name(["crane", "duck", "crane"]) == {"0": "crane (0)", "1": "duck", "2": "crane (2)"}

"""Fixtures: real digits, a store with a model really trained on them, the service in a process of its own."""

import copy
import hashlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

# Read when bentoml is imported, which is why it comes before everything else.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")

import httpx
import hypothesis
import numpy as np
import production
import psutil
import pytest
import skimage.data
import sklearn.datasets
import torch
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from torchvision.models import get_model_weights
from torchvision.transforms import v2

from drift import Reference
from serving.models import Classifier, load_classifier, stacked
from serving.photographs import crop_photograph
from train.data import Digits, MnistSplits, load_mnist
from train.resnet import PhotographClassifier, load_network

ROOT = Path(__file__).parent.parent
FASHION = ROOT.parent / "shared" / "data" / "fashion-mnist-900.npz"
READY_WITHIN_SECONDS = 120
MARK = "STARTED_BY_TEST"  # in the environment of a benchmark, and so of all that it starts

# The same examples in every run; and no deadline, since a busy machine is no failure.
hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None)
hypothesis.settings.load_profile("seeded")

Serve = Callable[..., AbstractContextManager[httpx.Client]]
start = production.start  # a fixture


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Call slow what needs a trained model or measures; and begin with the longest test of all."""
    for item in items:
        needs_model = {"store", "resnet_weights"} & set(getattr(item, "fixturenames", ()))
        if needs_model or item.path.name.startswith("test_bench_"):
            item.add_marker("slow")
    items.sort(key=lambda item: item.path.name != "test_readme.py")


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Keep tests and the servers that they start from taking each other's cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def splits() -> MnistSplits:
    """The digits that need no download."""
    return load_mnist("embedded", Path("data"))


@pytest.fixture(scope="session")
def held_out(splits: MnistSplits) -> Digits:
    """Digits that neither the training nor the reference has seen."""
    return splits.test


@pytest.fixture(scope="session")
def fashion() -> np.ndarray:
    """128 images of clothes, (128, 28, 28) uint8."""
    if not FASHION.exists():
        pytest.skip(f"needs Fashion-MNIST in {FASHION}")
    with np.load(FASHION) as file:
        images = file["images"]
    return images[np.random.default_rng(0).permutation(len(images))[:128]]


@pytest.fixture(scope="session")
def store(request: pytest.FixtureRequest, tmp_path_factory) -> Path:
    """A BENTOML_HOME that holds one digit classifier, trained by the command line on the embedded digits.

    It is kept between runs, for as long as the code that made it stays the same.
    """
    made_by = hashlib.sha256()
    for source in sorted([*ROOT.glob("train/*.py"), *ROOT.glob("drift/*.py"), ROOT / "requirements-dev.txt"]):
        made_by.update(source.read_bytes())
    kept = request.config.cache.mkdir("stores")
    home = kept / made_by.hexdigest()[:16]
    with FileLock(kept.with_suffix(".lock")):
        if not home.exists():
            for old in kept.iterdir():
                shutil.rmtree(old)
            with beside(home) as folder:
                run(
                    [sys.executable, "-m", "train", "mnist", "--dataset", "embedded"], env=environment(folder)
                )
    return own_home(home, tmp_path_factory)


def own_home(home: Path, factory: pytest.TempPathFactory) -> Path:
    """Return a BENTOML_HOME with the models of another, since in one services empty each other's metrics."""
    own = factory.mktemp("home")
    (own / "models").symlink_to(home / "models")
    return own


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which then takes the place of another."""
    unfinished = folder.with_suffix(".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    yield unfinished
    unfinished.rename(folder)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return a function that has a folder filled by the first of the tests' processes that needs it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder = shared / name
        with FileLock(shared / f"{name}.lock"):
            if not folder.exists():
                with beside(folder) as unfinished:
                    fill(unfinished)
        return folder

    return make


@pytest.fixture(scope="session")
def model_folder(store: Path) -> Path:
    """The trained model's files."""
    models = store / "models" / "mnist"
    return models / (models / "latest").read_text()


@pytest.fixture(scope="session")
def classifier(model_folder: Path) -> Classifier:
    """The trained model, loaded as the service loads it."""
    return load_classifier(model_folder, "mnist", model_folder.name, {"preprocessing": "digits"})


@pytest.fixture(scope="session")
def photographs() -> list[Image.Image]:
    """The colour photographs that scikit-image and scikit-learn ship, of all sizes and contents."""
    named = (
        "astronaut",
        "chelsea",
        "coffee",
        "hubble_deep_field",
        "immunohistochemistry",
        "retina",
        "rocket",
    )
    shipped = [getattr(skimage.data, name)() for name in named] + sklearn.datasets.load_sample_images().images
    return [Image.fromarray(image) for image in shipped]


@pytest.fixture(scope="session")
def crops(photographs: list[Image.Image]) -> Callable[[int, int], list[Image.Image]]:
    """Return a function that cuts some pieces out of the photographs in turn, at random from a seed."""

    def cut(count: int, seed: int) -> list[Image.Image]:
        torch.manual_seed(seed)
        augment = v2.Compose(
            [
                v2.RandomResizedCrop((240, 320), scale=(0.1, 1)),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.3, 0.3, 0.3),
            ]
        )
        return [augment(photographs[index % len(photographs)]) for index in range(count)]

    return cut


@pytest.fixture(scope="session")
def resnet_weights(
    crops: Callable[[int, int], list[Image.Image]], photographs: list[Image.Image], made_once
) -> Path:
    """A state dict of ResNet-18 that tells the photographs apart: its first classes stand for them, in order.

    Its weights are random but for those of the last layer, which are fitted.
    """

    def fit(folder: Path) -> None:
        network, _ = load_network("resnet18", "random", seed=0)
        transform = get_model_weights("resnet18").DEFAULT.transforms()
        model = PhotographClassifier(copy.deepcopy(network), mean=transform.mean, std=transform.std)
        copies = 30
        pictures = crops(copies * len(photographs), 1)
        images = [crop_photograph(image, resize_size=256, crop_size=224) for image in pictures]
        with torch.inference_mode():
            features = torch.cat([model(part)[1] for part in stacked(images).split(32)])
        fitted = Ridge(alpha=1).fit(features, 10 * torch.eye(len(photographs)).repeat(copies, 1))
        with torch.no_grad():
            network.fc.weight[: len(photographs)] = torch.from_numpy(fitted.coef_)
            network.fc.bias[: len(photographs)] = torch.from_numpy(fitted.intercept_)
        torch.save(network.state_dict(), folder / "resnet18.pth")

    return made_once("weights", fit) / "resnet18.pth"


@pytest.fixture(scope="session")
def resnet_home(
    resnet_weights: Path, crops: Callable[[int, int], list[Image.Image]], tmp_path_factory, made_once
) -> Path:
    """A BENTOML_HOME that holds a ResNet with a drift reference, and nothing else."""

    def train(home: Path) -> None:
        folder = tmp_path_factory.mktemp("reference")
        for index, image in enumerate(crops(160, seed=2)):
            image.save(folder / f"{index}.png")
        options = ["--weights", str(resnet_weights), "--reference", str(folder)]
        run([sys.executable, "-m", "train", "resnet", *options], env=environment(home))

    return own_home(made_once("resnet", train), tmp_path_factory)


@pytest.fixture
def fake_model_folder(tmp_path: Path) -> Path:
    """The files of a tiny model that keeps the contract of the store: two classes, by mean brightness."""
    folder = tmp_path / "fake"
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, and shipped here
        script = torch.jit.script(BrightnessClassifier())
        torch.jit.save(script, str(folder / "model.pt"))
    images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 28, 28).contiguous() * 100
    logits, features = script(images)
    save_file({"images": images, "logits": logits, "features": features}, folder / "golden.safetensors")
    (folder / "labels.json").write_text('["dark", "light"]')
    samples = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    Reference.fit(samples, samples.softmax(1), lengthscale_sample=samples + 1).save(
        folder / "reference.safetensors"
    )
    return folder


class BrightnessClassifier(nn.Module):
    """A model small enough to be understood at a glance."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = images.float().mean(dim=[1, 2, 3])
        return torch.stack([127 - mean, mean - 127], dim=1), torch.stack([mean, -mean], dim=1)


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Return a context manager that runs `bentoml serve` and gives a client of it."""
    return serving


@contextmanager
def serving(
    home: Path, *, target: str = ".", ready: str = "/readyz", log: Path | None = None, **settings: str
) -> Iterator[httpx.Client]:
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
    output = log.open("wb") if log else subprocess.DEVNULL
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(home) | settings, stdout=output, stderr=subprocess.STDOUT
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until_ready(client, ready, process)
            yield client
    finally:
        process.terminate()
        process.wait(timeout=30)
        if log:
            output.close()


def wait_until_ready(client: httpx.Client, path: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"bentoml serve ended with status {process.returncode} before it was ready")
        try:
            if client.get(path).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"bentoml serve was not ready within {READY_WITHIN_SECONDS} s")


@pytest.fixture(scope="module")
def port() -> int:
    """A port of this machine that nothing listens on."""
    return free_port()


@pytest.fixture(scope="session")
def service(store: Path, serve: Serve) -> Iterator[httpx.Client]:
    """A client of the service, running as a process of its own with the trained model."""
    with serve(store) as client:
        yield client


@pytest.fixture(scope="session")
def run_command() -> Callable[[list[str], Path], str]:
    """Return a function that runs a command with a BENTOML_HOME of its own."""
    return lambda command, home: run(command, env=environment(home))


@pytest.fixture(scope="session")
def copy_store() -> Callable[[Path, Path], Path]:
    """Return a function that copies a BENTOML_HOME, so that a test may change it."""
    return lambda source, target: Path(shutil.copytree(source, target))


@pytest.fixture(scope="session")
def spoil_golden() -> Callable[[Path], None]:
    """Return a function that makes a stored model's golden answers other than what it gives."""

    def spoil(home: Path) -> None:
        (path,) = home.glob("models/mnist/*/golden.safetensors")
        golden = load_file(path)
        save_file(golden | {"logits": golden["logits"] + 1}, path)

    return spoil


@pytest.fixture(scope="session")
def locked_versions() -> dict[str, str]:
    """The version of every package of the image's lock."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))


@pytest.fixture(scope="session")
def png() -> Callable[[np.ndarray | Tensor], bytes]:
    """Return a function that makes a PNG file of an image."""

    def encode(pixels: np.ndarray | Tensor) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(np.asarray(pixels)).save(stream, "PNG")
        return stream.getvalue()

    return encode


@pytest.fixture(scope="session")
def as_files(png: Callable[[np.ndarray | Tensor], bytes]) -> Callable[[Sequence], list]:
    """Return a function that makes images the files of a request."""

    def encode(images: Sequence) -> list:
        return [
            ("images", (f"{index:04d}.png", png(image), "image/png")) for index, image in enumerate(images)
        ]

    return encode


@pytest.fixture
def start_benchmark(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a module as a program, with a BENTOML_HOME of its own and options."""
    started = []

    def start(module: str, home: Path, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", module, *options]
        marked = environment(home) | {MARK: str(tmp_path)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=ROOT, env=marked, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def still_running(tmp_path: Path) -> Callable[[], list[str]]:
    """Return a function that gives the command lines of all processes that a benchmark has started."""

    def running() -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get(MARK) == str(tmp_path)
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                pass
        return found

    return running


@pytest.fixture
def interrupt(still_running: Callable[[], list[str]]) -> Callable[..., None]:
    """Return a function that interrupts a benchmark once it is under way, and checks that nothing goes on."""

    def send(benchmark: subprocess.Popen[str], is_under_way: Callable[[list[str]], bool]) -> None:
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while not is_under_way(still_running()):
            assert benchmark.poll() is None
            assert time.monotonic() < deadline, still_running()
            time.sleep(0.2)
        benchmark.send_signal(signal.SIGINT)
        _, errors = benchmark.communicate()
        assert benchmark.returncode == 128 + signal.SIGINT
        assert "Traceback" not in errors
        assert still_running() == []

    return send


@pytest.fixture
def push(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs scripts/push, and checks that it leaves no file behind."""

    def run_push(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        beside = tmp_path / "temporary"
        beside.mkdir(exist_ok=True)
        finished = subprocess.run(
            [str(ROOT / "scripts" / "push"), *arguments],
            env=environment | {"TMPDIR": str(beside)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert list(beside.iterdir()) == []
        return finished

    return run_push


def environment(home: Path) -> dict[str, str]:
    """Return an environment in which BentoML keeps everything in one folder."""
    return os.environ | {"BENTOML_HOME": str(home), "PYTHONPATH": str(ROOT)}


def run(command: list[str], env: dict[str, str]) -> str:
    """Run a command to its end, and return what it printed."""
    finished = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

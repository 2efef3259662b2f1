"""The image: started as production starts it, and asked from outside. $IMAGE names it; .ci/run builds one.

What no network may be needed for is asked from inside.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image, ImageFilter

from bench.image import layers_of

ROOT = Path(__file__).parents[2]
ENGINE = next((engine for engine in ("docker", "podman") if shutil.which(engine)), "docker")
ENGINE = os.environ.get("ENGINE", ENGINE)
READY_WITHIN_SECONDS = 60
BENTO = "/home/bentoml/bento"
# A root that cannot be written, no capability, little memory, and a user that the image has never heard of.
AS_IN_PRODUCTION = (
    *("--read-only", "--tmpfs", "/tmp"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--memory", "1g", "--user", "12345:12345"),
)
POST_INSIDE = """
import sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:3000" + sys.argv[1], sys.stdin.buffer.read())
request.add_header("Content-Type", sys.argv[2])
print(urllib.request.urlopen(request).read().decode())
"""
MODULES_WITHOUT_BYTECODE = """
import os, sys
os.environ["PROMETHEUS_MULTIPROC_DIR"] = "/tmp"
from _bentoml_impl.loader import load
import _bentoml_impl.worker.service
service = load("/home/bentoml/bento", standalone_load=True)
service.to_asgi()
service.inner()
for name, module in sorted(sys.modules.items()):
    cached = getattr(module, "__dict__", {}).get("__cached__") or ""
    if not cached.startswith("/home/") and cached and not os.path.exists(cached):
        print(name)
"""
FILES_THAT_DIFFER_FROM_THEIR_LIST = """
from importlib.metadata import distributions
files = [file for distribution in distributions() for file in distribution.files]
sizes = [(file, file.size, file.locate()) for file in files if file.size]
print([str(file) for file, size, path in sizes if not path.exists() or path.stat().st_size != size])
"""

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif("IMAGE" not in os.environ, reason="needs an image, named by $IMAGE"),
]


def engine(*arguments: str, stdin: bytes = b"") -> str:
    command = [ENGINE, *arguments]
    finished = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert finished.returncode == 0, finished.stderr.decode()
    return finished.stdout.decode().strip()


def inside(container: str, *command: str, stdin: bytes = b"") -> str:
    return engine("exec", "--interactive", container, *command, stdin=stdin)


def wait_until(holds: Callable[[], bool], container: str) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while not holds():
        assert time.monotonic() < deadline, engine("logs", container)
        time.sleep(0.1)


def is_healthy(container: str) -> bool:
    """Ask as the engine asks, by the health check of the image."""
    check = "env/docker/healthcheck.py"
    return (
        subprocess.run(
            [ENGINE, "exec", container, "python", check], capture_output=True, check=False
        ).returncode
        == 0
    )


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., str]]:
    """Return a function that starts a container of the image and gives its name once it is healthy."""
    started = []

    def run(*options: str) -> str:
        started.append(engine("run", "--detach", *AS_IN_PRODUCTION, *options, os.environ["IMAGE"]))
        wait_until(lambda: is_healthy(started[-1]), started[-1])
        return started[-1]

    yield run
    engine("rm", "--force", *started)


@pytest.fixture(scope="module")
def container(start) -> str:
    """A running container, by its id, whose port is published."""
    return start("--publish", "127.0.0.1::3000")


@pytest.fixture
def client_of() -> Callable[[str], httpx.Client]:
    """Return a function that gives a client of a container."""
    return lambda name: httpx.Client(
        base_url=f"http://{engine('port', name, '3000').splitlines()[0]}", timeout=60
    )


@pytest.fixture
def client(container, client_of) -> Iterator[httpx.Client]:
    with client_of(container) as client:
        yield client


@pytest.fixture(scope="session")
def blurred(held_out) -> list[np.ndarray]:
    """128 digits, blurred beyond doubt."""
    return [
        np.asarray(Image.fromarray(digit.numpy()).filter(ImageFilter.GaussianBlur(2)))
        for digit in held_out.images[:128]
    ]


def test_the_container_classifies_digits(client, as_files, held_out):
    answer = client.post("/classify", files=as_files(held_out.images)).json()

    right = [
        result["class_id"] == label
        for result, label in zip(answer["results"], held_out.labels.tolist(), strict=True)
    ]
    assert sum(right) >= 0.97 * len(held_out)


def test_the_container_tells_drift_from_no_drift(client, as_files, held_out, blurred):
    assert client.post("/drift", files=as_files(held_out.images[:128])).json()["p_value"] > 0.01
    assert client.post("/drift", files=as_files(blurred)).json()["p_value"] == 0.001


def test_the_container_answers_a_bad_request_with_a_problem(client):
    answer = client.post("/classify", files={"images": ("a.png", b"?", "image/png")})

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_image_without_the_resnet_says_how_to_add_it(client, as_files, held_out):
    models = client.get("/models").json()["models"]
    if any(model["name"] == "resnet" for model in models):
        pytest.skip("the image holds a ResNet")

    answer = client.post("/classify", files=as_files(held_out.images[:1]), data={"model": "resnet"})

    assert answer.status_code == 503
    assert "python -m train resnet" in answer.json()["detail"]


def test_without_a_network_the_container_classifies_and_scores_drift(start, as_files, held_out, blurred):
    """Nothing is fetched when it runs."""
    container = start("--network", "none")
    answers = []
    for path, images in (("/classify", held_out.images[:100]), ("/drift", blurred)):
        request = httpx.Request("POST", "http://any" + path, files=as_files(images))
        program = ("python", "-c", POST_INSIDE, path, request.headers["content-type"])
        answers.append(json.loads(inside(container, *program, stdin=request.read())))

    classified, scored = answers
    pairs = zip(classified["results"], held_out.labels[:100].tolist(), strict=True)
    assert sum(found["class_id"] == label for found, label in pairs) >= 95
    assert scored["is_drift"]


def test_the_engine_finds_the_container_healthy(container):
    inspected = json.loads(engine("image", "inspect", os.environ["IMAGE"]))[0]

    check = inspected["Config"].get("Healthcheck") or inspected["Healthcheck"]
    assert check["Test"] == ["CMD", "python", "env/docker/healthcheck.py"]
    assert is_healthy(container)


def test_the_user_of_the_container_may_be_any_and_is_not_root_unless_told_otherwise(container):
    (inspected,) = json.loads(engine("image", "inspect", os.environ["IMAGE"]))

    assert re.fullmatch("[1-9][0-9]*", inspected["Config"]["User"])  # a name would tell Kubernetes nothing
    assert inside(container, "id", "-u") == "12345"


def test_the_container_has_one_process_tree_and_no_zombie(container, client, as_files, held_out):
    client.post("/classify", files=as_files(held_out.images[:10]))

    listing = "for p in /proc/[0-9]*; do cat $p/stat; done"
    states = re.findall(r"^(\d+) \((.*)\) (\S) (\d+)", inside(container, "sh", "-c", listing), re.MULTILINE)
    processes = {int(number): (state, int(parent)) for number, name, state, parent in states if name != "sh"}
    assert "Z" not in {state for state, _ in processes.values()}
    workers = {number for number, (_, parent) in processes.items() if parent == 1}
    decoders = {number for number, (_, parent) in processes.items() if parent in workers}
    assert len(decoders) == len(workers) >= 1
    # What the engine itself runs inside has no parent there.
    assert {number for number, (_, parent) in processes.items() if parent} == workers | decoders


def test_the_container_ends_well_when_it_is_told_to_and_answers_first(start, client_of, as_files, blurred):
    container = start("--publish", "127.0.0.1::3000")
    files = as_files(blurred) * 7
    with client_of(container) as client, ThreadPoolExecutor(1) as thread:
        answer = thread.submit(client.post, "/drift", files=files)
        metric = 'bentoml_service_request_in_progress{endpoint="/drift"'
        wait_until(lambda: answer.done() or metric in client.get("/metrics").text, container)
        engine("stop", "--time", "10", container)

        assert answer.result().json()["is_drift"]

    state = json.loads(engine("inspect", container))[0]["State"]
    assert state["ExitCode"] == 0


def test_a_container_whose_worker_dies_ends_with_an_error(start):
    """So that the orchestrator starts another."""
    container = start()
    find_worker = "grep -l _bentoml_impl.worker.service /proc/[0-9]*/cmdline"
    worker = re.search(r"/proc/(\d+)/", inside(container, "sh", "-c", find_worker)).group(1)

    inside(container, "sh", "-c", f"kill -{signal.SIGKILL} {worker}")
    status = engine("wait", container)

    assert status == "1"


def test_the_log_of_a_container_is_json_on_request(start):
    container = start("--env", "LOG_FORMAT=json", "--env", "PORT=8080")

    lines = engine("logs", container).splitlines()

    assert lines
    assert all({"time", "level", "message"} <= json.loads(line).keys() for line in lines)


def test_the_container_holds_the_versions_of_the_lock(locked_versions):
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    run = ("run", "--rm", "--volume", f"{uv}:/uv:ro", "--entrypoint", "/uv", os.environ["IMAGE"])

    frozen = engine(*run, "pip", "freeze", "--python", "/app/.venv/bin/python")

    assert dict(line.split("==") for line in frozen.splitlines()) == locked_versions


def test_the_image_is_no_larger_than_900_mb_with_models_of_digits_and_photographs(client):
    models = {model["name"] for model in client.get("/models").json()["models"]}

    size = sum(size for size, _ in layers_of(ENGINE, os.environ["IMAGE"]))
    assert size <= 900_000_000 - (0 if "resnet" in models else 45_000_000)


def test_the_code_of_the_image_follows_all_that_is_large():
    """A registry is sent the layers from a change on, and in most cases it is the code that changes."""
    sizes = [size for size, _ in layers_of(ENGINE, os.environ["IMAGE"])]

    large = [number for number, size in enumerate(sizes) if size > 20_000_000]
    assert 500_000 < sum(sizes[large[-1] + 1 :]) < 5_000_000


def test_threads_follow_the_quota_of_the_container(start):
    """Whichever version of cgroups this machine has."""
    container = start("--cpus", "1")

    ask = (
        f"import sys; sys.path.append('{BENTO}/src'); "
        "from serving.execution.threads import cores; print(cores())"
    )
    printed = inside(container, "python", "-c", ask)

    assert printed == "1"


def test_all_that_a_service_loads_has_its_bytecode(container):
    """Else it would be compiled at each start, since there is nowhere to keep it."""
    printed = inside(container, "python", "-c", MODULES_WITHOUT_BYTECODE + 'print("all looked at")')

    assert printed.splitlines()[-1] == "all looked at"
    assert not re.findall(r"^[\w.]+$", printed, re.MULTILINE)


def test_the_image_holds_nothing_that_only_tests_and_compilers_use():
    run = ("run", "--rm", "--user", "0", "--entrypoint", "find", os.environ["IMAGE"])

    listing = engine(*run, "/app", "/root", "/usr")

    assert "/app/.venv/bin/bentoml" in listing
    assert not re.findall(r"^/app/.*/(?:tests?|include|[^/]+\.(?:a|h|hpp|pyi))$", listing, re.MULTILINE)
    assert not re.findall(r"^/root/\.cache/.+|^.*/bin/(?:gcc|cc|git|uvx)$", listing, re.MULTILINE)
    assert not re.findall(r"^.*/(?:site|dist)-packages/(?:pip|setuptools|sympy)$", listing, re.MULTILINE)


def test_every_package_in_the_image_lists_its_files_as_they_are(container):
    printed = inside(container, "python", "-c", FILES_THAT_DIFFER_FROM_THEIR_LIST)

    assert printed == "[]"


def test_the_image_says_what_it_is():
    (inspected,) = json.loads(engine("image", "inspect", os.environ["IMAGE"]))
    labels = inspected["Config"]["Labels"]
    revision = ["git", "rev-parse", "HEAD"]

    said = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert said["title"] == "driftbento"
    assert said["licenses"] == "Apache-2.0"
    assert re.fullmatch(r"\d+\.\d+\.\d+", said["version"])
    assert said["revision"].startswith(subprocess.check_output(revision, cwd=ROOT, text=True).strip())
    assert said["created"]
    assert re.search(r"mnist:\w+", said["driftbento.models"])


def test_the_image_does_not_hold_the_day_on_which_it_was_built():
    shadow = engine("run", "--rm", "--user", "0", "--entrypoint", "cat", os.environ["IMAGE"], "/etc/shadow")

    assert re.search(r"^bentoml:!+:1:", shadow, re.MULTILINE)


needs_another_build = pytest.mark.skipif(
    "IMAGE_AGAIN" not in os.environ, reason="needs another build of the image, named by $IMAGE_AGAIN"
)


@needs_another_build
@pytest.mark.skipif(ENGINE == "docker", reason="docker keeps the time of each file in a layer")
def test_a_registry_that_has_an_image_is_sent_one_layer_of_another_build():
    """Its version and its date are in a layer of their own, the last."""
    layers, layers_again = (
        json.loads(engine("image", "inspect", os.environ[name]))[0]["RootFS"]["Layers"]
        for name in ("IMAGE", "IMAGE_AGAIN")
    )

    assert len(layers) == len(layers_again)
    assert layers[:-1] == layers_again[:-1]


@needs_another_build
def test_one_commit_makes_one_image():
    """But for times, and for the bento's version and date."""
    files, files_again = files_of(os.environ["IMAGE"]), files_of(os.environ["IMAGE_AGAIN"])

    names = files.keys() | files_again.keys()
    differing = {name for name in names if files.get(name) != files_again.get(name)}
    assert differing == {f"{BENTO}/bento.yaml"}
    assert bento_of(os.environ["IMAGE"]) == bento_of(os.environ["IMAGE_AGAIN"])
    assert any(name.endswith("/model.pt") for name in files)
    assert any(name.endswith("/libtorch_cpu.so") for name in files)


def files_of(image: str) -> dict[str, str]:
    """Return what lies in an image: of each file its mode, its owner and its checksum."""
    made_by_the_engine = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab", "/run/*", "/tmp/*")
    options = [part for path in made_by_the_engine for part in ("!", "-path", path)]
    find = ("run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "find", image, "/", "-xdev")
    modes = engine(*find, "-type", "f", *options, "-printf", "%p\t%m %U %G\n")
    checksums = engine(*find, "-type", "f", *options, "-exec", "sha256sum", "{}", "+")
    checksum_of = {name: checksum for checksum, name in pairs(checksums, "  ")}
    return {name: f"{mode} {checksum_of[name]}" for name, mode in pairs(modes, "\t")}


def pairs(listing: str, separator: str) -> Iterator[list[str]]:
    return (line.split(separator, 1) for line in listing.splitlines())


def bento_of(image: str) -> str:
    """Return what the bento says of itself, without its version and its date."""
    said = engine("run", "--rm", "--entrypoint", "cat", image, f"{BENTO}/bento.yaml")
    return re.sub(r"^(version|creation_time): .*$", "", said, flags=re.MULTILINE)

"""The bento: built from the store, served from the store, and true to the model that it was built with."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(store, copy_store, tmp_path_factory) -> Path:
    """A store of its own, since a bento is built into it."""
    return copy_store(store, tmp_path_factory.mktemp("bento") / "home")


@pytest.fixture(scope="module")
def bento(home, run_command) -> Path:
    """The folder of a built bento."""
    output = run_command([sys.executable, "-m", "bentoml", "build", "--output", "tag"], home)
    tag = re.search(r"__tag__:(\S+)", output).group(1)
    return home / "bentos" / Path(*tag.split(":"))


def test_the_bento_names_the_version_of_its_model(bento, home):
    (service,) = yaml.safe_load((bento / "bento.yaml").read_text())["services"]

    version = (home / "models" / "mnist" / "latest").read_text()
    assert [model["tag"] for model in service["models"]] == [f"mnist:{version}"]


def test_the_bento_holds_what_serving_needs_and_nothing_of_training_or_tests(bento):
    source = bento / "src"
    files = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}

    assert {
        "service.py",
        "requirements.txt",
        "drift/two_sample/mmd.py",
        "serving/endpoints/classify.py",
    } <= files
    assert not [name for name in files if name.startswith(("train", "tests", "bench", "scripts"))]
    assert not [name for name in files if "__pycache__" in name]


def test_the_requirements_of_the_bento_are_the_lock_with_its_hashes_and_no_address(bento):
    lock = (ROOT / "requirements.txt").read_text()
    pinned = re.findall(r"^([a-z0-9._-]+==\S+)", lock, re.MULTILINE)
    inside = (bento / "env" / "python" / "requirements.txt").read_text()

    assert len(pinned) > 50
    # BentoML adds a line for itself, of the same version.
    assert set(re.findall(r"^([a-z0-9._-]+==\S+)", inside, re.MULTILINE)) == set(pinned)
    assert inside.count("--hash=sha256:") == lock.count("--hash=sha256:")
    assert not re.search(r"https?://|^\s*--?(extra-)?index|^\s*--?f(ind-links)?\b|^-i", inside, re.MULTILINE)


def test_the_image_installs_no_compiler(bento):
    dockerfile = (bento / "env" / "docker" / "Dockerfile").read_text()

    assert "apt-get" not in dockerfile
    assert "ARG TORCH_BACKEND=cpu" in dockerfile


@pytest.fixture
def layers(bento) -> list[str]:
    """The instructions of the stage that `scripts/image` builds, after those that it shares with others."""
    dockerfile = (bento / "env" / "docker" / "Dockerfile").read_text()
    return dockerfile.partition("FROM base-container AS driftbento\n")[2].partition("FROM ")[0].splitlines()


def test_the_models_of_the_image_come_before_its_code_and_the_rest_of_the_bento(layers, bento):
    """So that a registry that has the models is sent no more than what has changed."""
    copied = [part for line in layers if line.startswith("COPY ") for part in line.split()[2:-1]]

    whole = {path.name for path in bento.iterdir()} - {"env"}  # which is there before
    assert copied[0] == "models"
    assert copied[-1] == "bento.yaml"
    assert set(copied) == whole | {"models"}


def test_the_user_of_the_image_is_a_number(layers):
    """Of a name, Kubernetes cannot tell whether it is root, and with runAsNonRoot it refuses it."""
    (user,) = [line.split()[1] for line in layers if line.startswith("USER ")]

    assert user.isdigit()
    assert int(user) > 0


def test_the_image_starts_with_a_script_of_this_project_which_calls_bentomls(bento):
    entrypoint, bentomls = bento / "env/docker/entrypoint.sh", bento / "env/docker/bentoml.sh"

    assert entrypoint.read_bytes() == (ROOT / "deploy/image/entrypoint.sh").read_bytes()
    assert os.access(entrypoint, os.X_OK)
    assert "exec bentoml" in bentomls.read_text()


def test_the_openapi_document_in_the_bento_has_the_endpoints(bento):
    document = yaml.safe_load((bento / "apis" / "openapi.yaml").read_text())

    assert {"/classify", "/drift", "/models"} <= document["paths"].keys()


def test_the_bento_says_what_clients_of_bentoml_can_call(bento):
    in_bento = yaml.safe_load((bento / "bento.yaml").read_text())["schema"]
    beside_it = json.loads((bento / "apis" / "schema.json").read_text())

    for schema in (in_bento, beside_it):
        assert [route["route"] for route in schema["routes"]] == ["/classify", "/drift"]


def test_a_bento_without_a_model_is_not_built(tmp_path):
    command = [sys.executable, "-m", "bentoml", "build"]
    environment = os.environ | {"BENTOML_HOME": str(tmp_path)}

    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert built.returncode != 0
    assert "python -m train mnist" in built.stdout + built.stderr
    assert not list(tmp_path.glob("bentos/driftbento/*/bento.yaml"))


def test_a_bento_serves_the_model_that_it_was_built_with_though_a_newer_one_exists(
    bento, home, serve, as_files, held_out
):
    models = home / "models" / "mnist"
    built_with = (models / "latest").read_text()
    newer = yaml.safe_load((models / built_with / "model.yaml").read_text())
    (models / "newer").mkdir()
    for file in (models / built_with).iterdir():
        (models / "newer" / file.name).write_bytes(file.read_bytes())
    newer |= {"version": "newer", "creation_time": "2100-01-01T00:00:00+00:00"}
    (models / "newer" / "model.yaml").write_text(yaml.safe_dump(newer))
    (models / "latest").write_text("newer")

    with serve(home, target=f"{bento.parent.name}:{bento.name}") as client:
        from_bento = client.post("/classify", files=as_files(held_out.images[:1])).json()["model"]
        described = client.get("/docs.json").json()["info"]["version"]
    with serve(home) as client:
        from_source = client.post("/classify", files=as_files(held_out.images[:1])).json()["model"]

    assert from_bento == f"mnist:{built_with}"
    assert described == bento.name
    assert from_source == "mnist:newer"

"""The list of what is in the image: complete, valid, and no more. $IMAGE names it; .ci/run builds one."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = Path(__file__).parents[2]
ENGINE = next((engine for engine in ("docker", "podman") if shutil.which(engine)), "docker")
ENGINE = os.environ.get("ENGINE", ENGINE)

needs_image = pytest.mark.skipif("IMAGE" not in os.environ, reason="needs an image, named by $IMAGE")


def engine(*arguments: str) -> str:
    command = [ENGINE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def listing(tmp_path_factory) -> str:
    """The list of the image, as the script writes it."""
    path = tmp_path_factory.mktemp("sbom") / "sbom.json"
    command = [str(ROOT / "scripts" / "sbom"), os.environ["IMAGE"], str(path)]
    subprocess.run(command, env=os.environ | {"ENGINE": ENGINE}, check=True)
    return path.read_text()


@pytest.fixture
def of_pypi(listing) -> list[dict]:
    """The list's Python packages."""
    return [entry for entry in json.loads(listing)["components"] if entry["purl"].startswith("pkg:pypi/")]


@pytest.mark.thorough
@needs_image
def test_the_list_holds_the_lock_and_nothing_else_of_pypi(of_pypi, locked_versions):
    listed = {
        entry["name"].lower().replace("_", "-").replace(".", "-"): entry["version"] for entry in of_pypi
    }

    assert listed == locked_versions
    for entry in of_pypi:
        assert PackageURL.from_string(entry["purl"]).version == entry["version"]


@pytest.mark.thorough
@needs_image
def test_the_image_holds_no_python_package_outside_the_environment_that_is_listed():
    """An installer that the base image has compiled with its Python would be in neither list."""
    find = ["run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "find", os.environ["IMAGE"]]
    found = engine(*find, "/", "-xdev", "(", "-name", "*.dist-info", "-o", "-name", "*.egg-info", ")")

    elsewhere = [path for path in found.splitlines() if not path.startswith("/app/.venv/")]
    assert len(found.splitlines()) > 50
    assert elsewhere == []


@pytest.mark.thorough
@needs_image
def test_every_python_package_has_its_licence_and_the_hashes_of_the_lock(of_pypi):
    lock = (ROOT / "requirements.txt").read_text()

    for entry in of_pypi:
        assert entry["licenses"], entry["name"]
        hashes = [
            kept["content"] for source in entry["externalReferences"] for kept in source.get("hashes", [])
        ]
        assert hashes, entry["name"]
        assert all(f"--hash=sha256:{content}" in lock for content in hashes)


@pytest.mark.thorough
@needs_image
def test_the_list_follows_the_schema_and_says_of_which_image_it_is(listing):
    image = json.loads(listing)["metadata"]["component"]

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(listing) is None
    assert image["name"] == os.environ["IMAGE"]
    assert image["bom-ref"].removeprefix("sha256:") == engine(
        "image", "inspect", "--format", "{{.Id}}", os.environ["IMAGE"]
    ).removeprefix("sha256:")


@pytest.mark.thorough
@needs_image
def test_the_list_holds_the_packages_of_debian(listing):
    show = ["run", "--rm", "--network", "none", "--entrypoint", "dpkg-query", os.environ["IMAGE"]]
    installed = engine(*show, "-W", "-f", "${Package} ${Version} ${Architecture}\n").splitlines()

    found = set()
    for entry in json.loads(listing)["components"]:
        purl = PackageURL.from_string(entry["purl"])
        if purl.type == "deb":
            found.add(f"{purl.name} {purl.version} {purl.qualifiers['arch']}")
    assert found == set(installed)


@pytest.mark.thorough
@needs_image
def test_no_container_is_left_behind(listing):
    assert (
        engine(
            "ps",
            "--all",
            "--quiet",
            "--filter",
            f"ancestor={os.environ['IMAGE']}",
            "--filter",
            "status=created",
        )
        == ""
    )


@pytest.mark.skipif(shutil.which(ENGINE) is None, reason="needs an engine")
def test_an_image_that_is_not_there_is_an_error_that_says_how_to_build_it(tmp_path):
    command = [str(ROOT / "scripts" / "sbom"), "localhost/none-such:1", str(tmp_path / "sbom.json")]

    finished = subprocess.run(command, capture_output=True, text=True, check=False)

    assert finished.returncode == 1
    assert "Build it: scripts/image" in finished.stderr
    assert list(tmp_path.iterdir()) == []

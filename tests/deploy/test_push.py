"""Pushing an image: to a real registry on loopback, with TLS and a password, and back by the digest."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import bcrypt
import httpx
import pytest
import trustme

ROOT = Path(__file__).parents[2]
READY_WITHIN_SECONDS = 60
TOOLS = ("podman", "skopeo", "docker-registry")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]

needs_registry = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} (packages of Debian)")

CONFIG = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
http:
  addr: 127.0.0.1:{port}
  tls: {{certificate: {folder}/server.pem, key: {folder}/server.key}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the registry keeps, and what its clients know of it."""
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def registry(folder) -> Iterator[str]:
    """The address of a registry that takes images of one user, over TLS."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.crt")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(folder / "server.pem")
    certificate.private_key_pem.write_to_path(folder / "server.key")
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (folder / "htpasswd").write_text(f"someone:{hashed}\n")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    (folder / "config.yml").write_text(CONFIG.format(folder=folder, port=port))
    command = ["docker-registry", "serve", str(folder / "config.yml")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until_answering(f"https://127.0.0.1:{port}/v2/", process, authority)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_until_answering(url: str, process: subprocess.Popen, authority: trustme.CA) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    context = httpx.create_ssl_context()
    authority.configure_trust(context)
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            assert httpx.get(url, verify=context, trust_env=False).status_code == 401
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the registry did not answer within {READY_WITHIN_SECONDS} s")


def storage_in(folder: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment in which podman and skopeo keep images in a folder of their own."""
    folder.mkdir(exist_ok=True)
    config = folder / "storage.conf"
    config.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n')
    return dict(environment) | {"CONTAINERS_STORAGE_CONF": str(config)}


@pytest.fixture(scope="module")
def logged_in(folder, registry) -> dict[str, str]:
    """The environment of the user, with an image storage of the tests' own."""
    environment = storage_in(folder / "storage") | {
        "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
        "SSL_CERT_FILE": str(folder / "ca.crt"),
    }
    run("podman", "login", "-u", "someone", "-p", "secret", registry, environment=environment)
    return environment


@pytest.fixture(scope="module")
def image(logged_in, folder) -> str:
    """The name of an image that holds one small file."""
    layer = folder / "layer.tar"
    content = b"hello\n"
    with tarfile.open(layer, "w") as archive:
        member = tarfile.TarInfo("hello")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    run("podman", "import", "--change", "ENV A=1", str(layer), "localhost/tiny:1", environment=logged_in)
    return "localhost/tiny:1"


@pytest.fixture(scope="module")
def archive(logged_in, image, folder) -> Path:
    """The image as an OCI archive, under another name."""
    path = folder / "tiny.tar"
    run("podman", "tag", image, "localhost/archived:1", environment=logged_in)
    save = ["podman", "save", "--quiet", "--format", "oci-archive", "-o", str(path), "localhost/archived:1"]
    run(*save, environment=logged_in)
    run("podman", "untag", image, "localhost/archived:1", environment=logged_in)
    return path


def run(*command: str, environment: dict[str, str]) -> str:
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout.strip()


def names(environment: dict[str, str]) -> list[str]:
    """Return the images of a storage, by name and id."""
    show = ["podman", "image", "ls", "--all", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]
    return sorted(run(*show, environment=environment).splitlines())


def config_digest(reference: str, environment: dict[str, str]) -> str:
    """Return the digest of the configuration of an image of a registry, which is the image's id."""
    manifest = run("skopeo", "inspect", "--raw", f"docker://{reference}", environment=environment)
    return str(json.loads(manifest)["config"]["digest"])


@needs_registry
@pytest.mark.parametrize("tool", ["podman", "skopeo", None], ids=["podman", "skopeo", "whichever is there"])
def test_an_image_is_pulled_by_the_digest_that_is_printed(push, registry, image, logged_in, tmp_path, tool):
    insist = ["--with", tool] if tool else []
    before = names(logged_in)

    pushed = push(*insist, image, f"{registry}/some/tiny:1.0", environment=logged_in)

    assert pushed.returncode == 0, pushed.stderr
    (reference,) = pushed.stdout.splitlines()
    assert reference.startswith(f"{registry}/some/tiny@sha256:")
    elsewhere = storage_in(tmp_path / "elsewhere", logged_in)
    pulled = run("podman", "pull", "--quiet", reference, environment=elsewhere)
    show = ["podman", "image", "inspect", "--format", "{{.Id}}", image]
    assert pulled == run(*show, environment=logged_in)
    assert names(logged_in) == before


@needs_registry
@pytest.mark.parametrize("tool", ["podman", "skopeo", None], ids=["podman", "skopeo", "whichever is there"])
def test_an_archive_is_pushed_as_it_is(push, registry, archive, logged_in, tmp_path, tool):
    insist = ["--with", tool] if tool else []
    emptied = storage_in(tmp_path / "emptied", logged_in)
    inspected = run("skopeo", "inspect", "--raw", f"oci-archive:{archive}", environment=logged_in)

    pushed = push(*insist, str(archive), f"{registry}/from/archive:2", environment=emptied)

    assert pushed.returncode == 0, pushed.stderr
    (reference,) = pushed.stdout.splitlines()
    assert config_digest(reference, logged_in) == json.loads(inspected)["config"]["digest"]
    assert names(emptied) == []


@needs_registry
def test_an_image_that_has_the_name_of_the_archive_keeps_it(push, registry, image, archive, logged_in):
    run("podman", "import", "-q", str(archive), "localhost/archived:1", environment=logged_in)
    before = names(logged_in)

    pushed = push("--with", "podman", str(archive), f"{registry}/from/archive:3", environment=logged_in)

    assert pushed.returncode == 0, pushed.stderr
    assert names(logged_in) == before


@needs_registry
@pytest.mark.parametrize("tool", ["podman", "skopeo"])
@pytest.mark.parametrize("password", [None, "wrong"], ids=["no login", "wrong password"])
def test_who_may_not_push_is_told_how_to_log_in(push, registry, image, logged_in, tmp_path, tool, password):
    login = tmp_path / "auth.json"
    login.write_text("{}")
    if password:
        logins = json.loads(Path(logged_in["REGISTRY_AUTH_FILE"]).read_text())
        logins["auths"][registry]["auth"] = "c29tZW9uZTp3cm9uZw=="  # someone:wrong
        login.write_text(json.dumps(logins))
    stranger = logged_in | {"REGISTRY_AUTH_FILE": str(login), "HOME": str(tmp_path)}

    pushed = push("--with", tool, image, f"{registry}/some/tiny:1.0", environment=stranger)

    assert pushed.returncode == 1
    assert pushed.stdout == ""
    assert pushed.stderr.splitlines()[-1].endswith(f"Log in as somebody who may: {tool} login {registry}")


@needs_registry
@pytest.mark.parametrize("tool", ["podman", "skopeo"])
def test_an_unknown_certificate_is_an_error_that_says_where_to_put_it(push, registry, image, logged_in, tool):
    trusting = {name: value for name, value in logged_in.items() if name != "SSL_CERT_FILE"}

    pushed = push("--with", tool, image, f"{registry}/some/tiny:1.0", environment=trusting)

    assert pushed.returncode == 1
    assert f"/etc/containers/certs.d/{registry}/ca.crt" in pushed.stderr.splitlines()[-1]


@needs_registry
def test_a_registry_that_is_not_there_is_said_to_be_out_of_reach(push, image, logged_in):
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{kept.getsockname()[1]}"

        pushed = push("--with", "skopeo", image, f"{host}/some/tiny:1.0", environment=logged_in)

    assert pushed.returncode == 1
    assert f"{host} cannot be reached from here" in pushed.stderr.splitlines()[-1]


@needs_registry
def test_an_interrupted_push_leaves_nothing_behind(archive, logged_in, tmp_path):
    """The registry takes the connection and never answers, so that the push is under way for certain."""
    emptied = storage_in(tmp_path / "emptied", logged_in) | {"TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(READY_WITHIN_SECONDS)
        target = f"127.0.0.1:{silent.getsockname()[1]}/some/tiny:1"
        command = [str(ROOT / "scripts" / "push"), "--with", "podman", str(archive), target]
        pushing = subprocess.Popen(command, env=emptied, start_new_session=True)
        connection, _ = silent.accept()
        os.killpg(pushing.pid, signal.SIGTERM)  # a shell in the background cannot hear of SIGINT
        status = pushing.wait(timeout=READY_WITHIN_SECONDS)
        connection.close()

    assert status == 128 + signal.SIGTERM
    assert list((tmp_path / "temporary").iterdir()) == []
    assert names(emptied) == []


@pytest.mark.parametrize(
    ("arguments", "status", "right"),
    [
        (["tiny", "some/tiny:1"], 2, "docker.io/some/tiny:1"),
        (["tiny", "tiny:1"], 2, "ghcr.io/NAME/driftbento:0.1.0"),
        (["tiny", "ghcr.io/some/tiny"], 2, "ghcr.io/some/tiny:0.1.0"),
        (["tiny", "ghcr.io/some/tiny@sha256:00"], 2, "Give a tag"),
        (["tiny", "https://ghcr.io/some/tiny:1"], 2, "Leave out the scheme: ghcr.io/some/tiny:1"),
        (["tiny", "ghcr.io/Some/tiny:1"], 2, "small letters"),
        (["--with", "buildah", "tiny", "ghcr.io/some/tiny:1"], 2, "docker, podman or skopeo"),
        (["--with"], 2, "docker, podman or skopeo"),
        (["tiny"], 2, "Usage: scripts/push"),
        (["README.md", "ghcr.io/some/tiny:1"], 1, "podman save --format oci-archive"),
    ],
    ids=["host", "name", "tag", "digest", "scheme", "capitals", "tool", "no tool", "no target", "no archive"],
)
def test_a_mistake_is_an_error_that_says_what_would_be_right(push, monkeypatch, arguments, status, right):
    monkeypatch.chdir(ROOT)

    pushed = push(*arguments, environment=dict(os.environ))

    assert pushed.returncode == status
    assert pushed.stdout == ""
    assert right in pushed.stderr


@needs_registry
@pytest.mark.parametrize(
    ("missing", "right"),
    [("localhost/none-such:1", "Build it: scripts/image"), ("none-such.tar", "podman save")],
    ids=["image", "archive"],
)
def test_what_is_not_there_is_an_error_that_says_how_to_make_it(push, tmp_path, missing, right):
    pushed = push(missing, "ghcr.io/some/tiny:1", environment=storage_in(tmp_path / "emptied"))

    assert pushed.returncode == 1
    assert right in pushed.stderr


def test_a_machine_without_any_tool_is_told_which_would_do(push, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "grep", "mktemp", "mkfifo", "rm", "cat"):
        (tools / tool).symlink_to(shutil.which(tool))

    pushed = push("tiny", "ghcr.io/some/tiny:1", environment={"PATH": str(tools)})

    assert pushed.returncode == 1
    assert "None of docker, podman and skopeo" in pushed.stderr


@pytest.mark.thorough
@needs_registry
@pytest.mark.skipif(
    "IMAGE" not in os.environ or os.environ.get("ENGINE") == "docker",
    reason="needs an image in podman's storage, named by $IMAGE",
)
def test_the_real_image_arrives_whole(push, registry, logged_in):
    """The registry checks its layers against their digests, and its id is that of the one built here."""
    mine = {name: value for name, value in logged_in.items() if name != "CONTAINERS_STORAGE_CONF"}

    pushed = push("--with", "podman", os.environ["IMAGE"], f"{registry}/real:1", environment=mine)

    assert pushed.returncode == 0, pushed.stderr
    built = run("podman", "image", "inspect", "--format", "{{.Id}}", os.environ["IMAGE"], environment=mine)
    assert config_digest(pushed.stdout.strip(), logged_in).removeprefix("sha256:") == built.removeprefix(
        "sha256:"
    )

"""Pushing with docker: what it is told, and what is made of its words. A stand-in for it needs no daemon."""

import os
from collections.abc import Callable

import pytest

# Keeps what images are called in a file, and says what docker says.
DOCKER = """\
#!/bin/sh
names={folder}/names
for last; do :; done
last=${{last#docker.io/}} # which docker leaves out
case $1 in
  info) echo ' Server Version: 27.0' ;;
  tag) id=$(sed -n "s|^$2 ||p" $names); sed -i "\\|^$last |d" $names; echo "$last ${{id:-$2}}" >>$names ;;
  push) cp $names {folder}/pushed; {push} ;;
  image)
    case $2 in
      ls) cat $names ;;
      rm) sed -i "\\|^$last |d" $names ;;
      inspect) grep -q "^$last " $names && sed -n "s|^$last ||p" $names ;;
    esac ;;
esac
"""
DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture
def docker(tmp_path) -> Callable[..., dict[str, str]]:
    """Return a function that makes a stand-in for docker, whose `push` runs a command."""
    folder = tmp_path / "docker"
    folder.mkdir()

    def make(push: str, *kept: str) -> dict[str, str]:
        (folder / "names").write_text("".join(f"{name}\n" for name in kept))
        (folder / "docker").write_text(DOCKER.format(folder=folder, push=push))
        (folder / "docker").chmod(0o755)
        return os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}

    return make


@pytest.mark.parametrize(
    "kept",
    [["tiny:1 sha256:aa"], ["tiny:1 sha256:aa", "ghcr.io/some/tiny:1 sha256:bb"]],
    ids=["a new name", "a name that another image has"],
)
def test_docker_gets_a_name_for_the_push_alone(push, docker, tmp_path, kept):
    environment = docker(f"echo '1: digest: {DIGEST} size: 528'", *kept)

    pushed = push("tiny:1", "ghcr.io/some/tiny:1", environment=environment)

    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout == f"ghcr.io/some/tiny@{DIGEST}\n"
    assert "ghcr.io/some/tiny:1 sha256:aa" in (tmp_path / "docker" / "pushed").read_text().splitlines()
    assert (tmp_path / "docker" / "names").read_text().splitlines() == kept


def test_an_image_that_has_the_name_already_keeps_it(push, docker, tmp_path):
    """Docker leaves its hub's host out of a name."""
    environment = docker(f"echo '1: digest: {DIGEST} size: 528'", "me/tiny:1 sha256:aa")

    pushed = push("me/tiny:1", "docker.io/me/tiny:1", environment=environment)

    assert pushed.returncode == 0, pushed.stderr
    assert (tmp_path / "docker" / "names").read_text() == "me/tiny:1 sha256:aa\n"


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("denied: requested access to the resource is denied", "docker login ghcr.io"),
        ("no basic auth credentials", "docker login ghcr.io"),
        ("name unknown: The repository with name 'some/tiny' does not exist", "Create it first"),
        ("x509: certificate signed by unknown authority", "/etc/docker/certs.d/ghcr.io/ca.crt"),
        ("dial tcp: lookup ghcr.io: no such host", "cannot be reached"),
        ("something new", "see what it says above"),
    ],
    ids=["denied", "no login", "no repository", "certificate", "no host", "else"],
)
def test_what_docker_says_is_explained(push, docker, tmp_path, said, right):
    environment = docker(f'echo "{said}" >&2; exit 1', "tiny:1 sha256:aa")

    pushed = push("--with", "docker", "tiny:1", "ghcr.io/some/tiny:1", environment=environment)

    assert pushed.returncode == 1
    assert pushed.stdout == ""
    assert right in pushed.stderr.splitlines()[-1]
    assert (tmp_path / "docker" / "names").read_text() == "tiny:1 sha256:aa\n"

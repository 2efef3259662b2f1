"""List what an image holds, as CycloneDX 1.6: the packages of its Python environment, and those of Debian.

It reads the file system of a container that never ran: nothing of what lists the packages gets into what is
listed, and the image needs no network, no shell and nothing that can be written.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from cyclonedx.exception import CycloneDxException
from cyclonedx.model import (
    AttachedText,
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    Property,
    XsUri,
)
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.utils import canonicalize_name

ENVIRONMENT = re.compile(r"app/\.venv/lib/python3[^/]*/site-packages/[^/]+\.dist-info/[^/]+")
DISTRIBUTION = re.compile(r"\.dist-info/[^/]+$")
DPKG_STATUS = "var/lib/dpkg/status"
OS_RELEASE = "usr/lib/os-release"
COPIED_AT_ONCE = 1 << 20  # bytes; tarfile's own are a hundredth, and take long over a gigabyte
VERSION_LABEL = "org.opencontainers.image.version"


class SbomError(Exception):
    """The image has no Python environment where it should be, or its list is not valid."""


def main() -> int:
    """Read a container's files, and write the list of what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", help="docker or podman")
    parser.add_argument("container", help="made of the image; it need not run")
    parser.add_argument("image", help="the image's name")
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--lock", type=Path, default=Path("requirements.txt"), help="what the hashes are taken from"
    )
    options = parser.parse_args()

    try:
        files = exported(options.engine, options.container)
        bom = bom_of(files, locked_hashes(options.lock.read_text(encoding="utf-8")))
        image = image_component(options.image, inspected(options.engine, options.image))
        bom.metadata.component = image
        bom.register_dependency(image, bom.components)
        text = validated(bom)
    except (SbomError, OSError, tarfile.TarError, subprocess.CalledProcessError) as error:
        print(f"{options.image} cannot be listed: {error}", file=sys.stderr)
        return 1
    beside = options.out.with_name(f".{options.out.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, options.out)
    print(f"{options.out}: {len(bom.components)} packages", file=sys.stderr)
    return 0


def exported(engine: str, container: str) -> dict[str, bytes]:
    """Return the files of a container that say what is installed, by path."""
    command = [engine, "export", container]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            files = read_files(process.stdout)
            process.stdout.read()  # podman waits for ever for a reader that leaves early
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return files


def inspected(engine: str, image: str) -> dict[str, Any]:
    """Return what an engine says of an image."""
    command = [engine, "image", "inspect", image]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    described: dict[str, Any] = json.loads(answer)[0]
    return described


def read_files(stream: IO[bytes]) -> dict[str, bytes]:
    """Return the files that say what is installed, by path, from a tar archive.

    Whatever describes a package is kept: those of the environment can be links to an installer's cache.
    """
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=stream, mode="r|", bufsize=COPIED_AT_ONCE) as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            if not (DISTRIBUTION.search(path) or path in {DPKG_STATUS, OS_RELEASE}):
                continue
            if member.islnk():
                files[path] = files.get(member.linkname.removeprefix("./"), b"")
            elif content := archive.extractfile(member) if member.isfile() else None:
                files[path] = content.read()
    return files


def bom_of(files: dict[str, bytes], hashes: dict[str, list[str]]) -> Bom:
    """Return the packages of the Python environment and those of Debian.

    Raises:
        SbomError: There is no Python environment.
    """
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site-packages"
        for path in filter(ENVIRONMENT.fullmatch, files):
            metadata = site / Path(path).parent.name / Path(path).name
            metadata.parent.mkdir(parents=True, exist_ok=True)
            metadata.write_bytes(files[path])
        if not site.exists():
            raise SbomError(
                "There is no Python environment in /app/.venv. Is this an image that scripts/image built?"
            )
        bom: Bom = Bom.from_json(json.loads(list_environment(site)))  # type: ignore[attr-defined]  # a decorator's
    for component in bom.components:
        if found := hashes.get(f"{canonicalize_name(component.name)}=={component.version}"):
            component.external_references.add(locked_files(component.name, found))
        if not component.licenses:
            component.licenses.update(licence_files(files, component))
    bom.components.update(debian_components(files))
    return bom


def list_environment(site: Path) -> str:
    """Return the list that cyclonedx-py makes of an environment, which it finds by asking its interpreter."""
    interpreter = site.parent / "python"
    interpreter.write_text(f"#!/bin/sh\necho '{json.dumps([str(site)])}'\n", encoding="utf-8")
    interpreter.chmod(0o755)
    command = [sys.executable, "-m", "cyclonedx_py", "environment", str(interpreter), "--sv", "1.6"]
    return subprocess.run([*command, "--of", "JSON"], capture_output=True, text=True, check=True).stdout


def locked_hashes(lock: str) -> dict[str, list[str]]:
    """Return the SHA-256 of every file that a lock allows, by name==version."""
    found = {}
    for entry in re.split(r"\n(?=\S)", lock):
        if pinned := re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", entry):
            key = f"{canonicalize_name(pinned[1])}=={pinned[2]}"
            found[key] = re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)
    return found


def locked_files(name: str, hashes: list[str]) -> ExternalReference:
    """Return where a package came from: a file of its version, which the lock names by its hash."""
    return ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(f"https://pypi.org/simple/{canonicalize_name(name)}/"),
        comment="installed from the file that has one of these hashes",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in hashes],
    )


def licence_files(files: dict[str, bytes], component: Component) -> Iterator[DisjunctiveLicense]:
    """Give the texts of the licence of a package whose metadata do not name it."""
    for path in filter(ENVIRONMENT.fullmatch, files):
        package, _, file = path.rpartition(".dist-info/")
        name, _, version = package.rpartition("/")[2].partition("-")
        if (canonicalize_name(name), version) == (canonicalize_name(component.name), component.version) and (
            file.upper().startswith(("LICENSE", "LICENCE", "COPYING"))
        ):
            yield DisjunctiveLicense(name=file, text=AttachedText(content=text_of(files, path)))


def debian_components(files: dict[str, bytes]) -> Iterator[Component]:
    """Give the packages that dpkg has installed, none where the image is not Debian's."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', text_of(files, OS_RELEASE), re.MULTILINE))
    distribution = f"{release.get('ID', 'debian')}-{release.get('VERSION_ID', '')}".rstrip("-")
    for paragraph in text_of(files, DPKG_STATUS).split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status") != "install ok installed":
            continue
        yield Component(
            type=ComponentType.LIBRARY,
            bom_ref=f"deb:{fields['Package']}:{fields['Architecture']}=={fields['Version']}",
            name=fields["Package"],
            version=fields["Version"],
            purl=PackageURL(
                type="deb",
                namespace=release.get("ID", "debian"),
                name=fields["Package"],
                version=fields["Version"],
                qualifiers={"arch": fields["Architecture"], "distro": distribution},
            ),
        )


def text_of(files: dict[str, bytes], path: str) -> str:
    """Return a file's text, which is empty where there is no such file."""
    return files.get(path, b"").decode("utf-8", "replace")


def image_component(image: str, described: dict[str, Any]) -> Component:
    """Return what the list is of: the image's name, its version label, its id and its digests."""
    labels = (described.get("Config") or {}).get("Labels") or {}
    digests = [
        Property(name="oci:image:RepoDigest", value=value) for value in described.get("RepoDigests") or []
    ]
    identity = "sha256:" + str(described["Id"]).removeprefix("sha256:")
    return Component(
        type=ComponentType.CONTAINER,
        bom_ref=identity,
        name=image,
        version=labels.get(VERSION_LABEL),
        properties=[Property(name="oci:image:ImageID", value=identity), *digests],
    )


def validated(bom: Bom) -> str:
    """Return a list as text.

    Raises:
        SbomError: It does not follow CycloneDX's schema.
    """
    try:
        text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
    except CycloneDxException as error:
        raise SbomError(f"The list cannot be written: {error}") from error
    if invalid := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise SbomError(f"The list is not valid: {invalid}")
    return text


if __name__ == "__main__":
    sys.exit(main())

"""Say which packages of the lock have known vulnerabilities, and of which nothing is known.

pip-audit finds nothing wrong with a package that it could not look up. Here such a package counts as unknown,
since that a database is out of reach is no good news.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

NOTHING_KNOWN, VULNERABLE, FAILED, UNKNOWN = range(4)  # exit statuses
SHOWN_REASONS = 3
OPTIONS = "--no-deps --disable-pip --format json --desc off --progress-spinner off"  # of pip-audit


class AuditError(Exception):
    """The lock cannot be read."""


@dataclass(frozen=True)
class Findings:
    """What is known of every package of a lock."""

    vulnerabilities: tuple[str, ...]  # a line each
    unknown: dict[str, str]  # reasons, by package
    n_packages: int

    @property
    def status(self) -> int:
        """The exit status: a known vulnerability counts before what is unknown."""
        if self.vulnerabilities:
            return VULNERABLE
        return UNKNOWN if self.unknown else NOTHING_KNOWN

    def report(self) -> str:
        """Return what people read, ending in how many packages nothing is known against."""
        lines = [f"Known vulnerabilities: {len(self.vulnerabilities)}"]
        lines += [f"  {vulnerability}" for vulnerability in self.vulnerabilities]
        lines.append(f"Packages whose state is unknown: {len(self.unknown)} of {self.n_packages}")
        if self.unknown:
            lines.append(f"  {', '.join(self.unknown)}")
        reasons = list(dict.fromkeys(self.unknown.values()))
        lines += [f"  {reason}" for reason in reasons[:SHOWN_REASONS]]
        if len(reasons) > SHOWN_REASONS:
            lines.append(f"  and {len(reasons) - SHOWN_REASONS} reasons more")
        return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Audit a lock, print the report, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="scripts/audit",
        description=__doc__,
        epilog="Exit status: 0 nothing known against any, 1 vulnerabilities, 3 some packages unknown.",
    )
    parser.add_argument("lock", type=Path, nargs="?", default=Path("requirements.txt"))
    parser.add_argument("--service", choices=["pypi", "osv"], default="pypi", help="database to ask")
    parser.add_argument("--seconds", type=float, default=300, help="time for all look-ups together")
    options = parser.parse_args(arguments)

    try:
        versions = locked_versions(options.lock)
    except AuditError as error:
        print(error, file=sys.stderr)
        return FAILED
    try:
        findings = summarise(look_up(versions, service=options.service, seconds=options.seconds), versions)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        findings = Findings((), dict.fromkeys(versions, str(error)), len(versions))
    print(findings.report())
    return findings.status


def locked_versions(lock: Path) -> dict[str, str]:
    """Return the version of every package of a lock, without the part that names a build (2.13.0+cpu).

    Raises:
        AuditError: The file cannot be read, or pins nothing.
    """
    try:
        text = lock.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AuditError(f"{lock} cannot be read: {error}") from error
    versions = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;+\\]+)", text, re.MULTILINE))
    if not versions:
        raise AuditError(
            f"{lock} pins no package. It should have lines such as name==1.0; scripts/lock writes them."
        )
    return {canonicalize_name(name): version for name, version in versions.items()}


def look_up(versions: dict[str, str], *, service: str, seconds: float) -> str:
    """Return pip-audit's JSON on packages, which it takes as they stand: nothing is installed or resolved.

    Raises:
        subprocess.SubprocessError: It took longer than it may, or ended without an answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "pins.txt"
        lines = "".join(f"{name}=={version}\n" for name, version in versions.items())
        pins.write_text(lines, encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(pins), *OPTIONS.split()]
        command += ["--vulnerability-service", service]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if not finished.stdout:
        reason = (finished.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise subprocess.SubprocessError(f"pip-audit ended with status {finished.returncode}: {reason}")
    return finished.stdout


def summarise(answer: str, versions: dict[str, str]) -> Findings:
    """Return what pip-audit's JSON says of every package; one that it leaves out is unknown.

    Raises:
        ValueError: The answer is not what pip-audit writes.
    """
    try:
        entries = {entry["name"]: entry for entry in json.loads(answer)["dependencies"]}
        known = {name: entry for name, entry in entries.items() if "vulns" in entry}
        vulnerabilities = tuple(
            described(entry, found) for entry in known.values() for found in entry["vulns"]
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"pip-audit's answer has another form than expected: {error!r}") from error
    unknown = {
        name: reason_of(entries.get(name, {}), name, version)
        for name, version in versions.items()
        if name not in known
    }
    return Findings(vulnerabilities, unknown, len(versions))


def described(entry: dict[str, str], found: dict[str, list[str]]) -> str:
    """Return one line on a vulnerability: where it is, what it is called, and what mends it."""
    names = ", ".join([str(found["id"]), *found.get("aliases", [])])
    mended = " or ".join(found["fix_versions"])
    remedy = f"fixed in {mended}" if mended else "no fix yet"
    return f"{entry['name']} {entry['version']}: {names}; {remedy}"


def reason_of(entry: dict[str, str], name: str, version: str) -> str:
    """Return why a package was not looked up, in words that do not name it, so that they can be counted."""
    reason = entry.get("skip_reason", "pip-audit says nothing of it")
    return reason.removesuffix(f": {name} ({version})")


if __name__ == "__main__":
    sys.exit(main())

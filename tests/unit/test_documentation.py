"""README, docs, CONTRIBUTING and SECURITY: what they link to and name is there, and the site can be built."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documentation import DOCS, PAGES, ROOT, anchors, without_code

README = ROOT / "README.md"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
LINKING = [*PAGES, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Of the project's folders, as it is in backticks.
PATH = re.compile(
    r"`((?:bench|bento|cli|deploy|docs|drift|scripts|serving|study|tests|train|vision)/[a-z0-9_./]*)`"
)
BEHAVIOURS = re.findall(r"^\| [A-Z].+? \| \[`(.+?)`\]\((.+?)\) \| (.+) \|$", CONTRIBUTING, re.MULTILINE)
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


@pytest.fixture
def site(tmp_path) -> Path:
    """A folder with what the site is made of."""
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return tmp_path


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site, where a warning is an error."""
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_site_can_be_built(site):
    built = build(site)

    assert built.returncode == 0, built.stdout + built.stderr
    for page in DOCS:
        folder = site / "site" / page.stem
        assert (folder if page.stem != "index" else site / "site").joinpath("index.html").is_file()


@pytest.mark.parametrize("target", ["nowhere.md", "api.md#nowhere"])
def test_a_site_with_a_broken_link_is_not_built(site, target):
    with (site / "docs" / "index.md").open("a") as page:
        page.write(f"\n[broken]({target})\n")

    assert build(site).returncode != 0


def test_every_page_of_docs_is_in_the_navigation():
    assert sorted(DOCS) == sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_are_there(page):
    targets = [link for link in LINK.findall(without_code(page.read_text())) if "://" not in link]

    for target in targets:
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target
        assert page not in DOCS or file.is_relative_to(ROOT / "docs"), f"{target} is not in the site"


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.name)
def test_the_files_that_are_named_are_there(page):
    named = set(PATH.findall(page.read_text()))

    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_readme_fits_on_three_screens_and_its_two_commands_on_the_first():
    lines = README.read_text().splitlines()

    assert len(lines) <= 150
    assert [line.split()[0] for line in lines[:25] if line.startswith("./scripts/")] == [
        "./scripts/serve",
        "./scripts/test",
    ]


@pytest.fixture
def layout() -> list[Path]:
    """The files and folders that the README's layout names."""
    (layout,) = re.findall(r"^## Layout\n\n```\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    folder, named = ROOT, list[Path]()

    for line in layout.splitlines():
        entries, _, meaning = line.strip().partition("  ")
        is_top = not line.startswith(" ")
        beside = ROOT if is_top else folder
        if entries.endswith("/"):
            named += [beside / entries / name for name in ["", *re.findall(r"[a-z_]+\.py\b", meaning)]]
        else:
            named += [beside / name for name in entries.split(", ")]
        if is_top:
            folder = ROOT / entries

    return named


def test_every_file_of_the_layout_is_there(layout):
    assert len(layout) > 50
    assert [str(path.relative_to(ROOT)) for path in layout if not path.exists()] == []


def test_the_layout_shows_where_each_behaviour_is(layout):
    assert len(BEHAVIOURS) == 10
    assert [file for file, *_ in BEHAVIOURS if ROOT / file not in layout] == []


@pytest.mark.parametrize(("file", "target", "names"), BEHAVIOURS, ids=[row[0] for row in BEHAVIOURS])
def test_a_behaviour_is_where_the_table_says(file, target, names):
    source = (ROOT / file).read_text()

    first, *others = re.findall(r"`([\w.]+)`", names)

    assert target == file
    assert first in defined(source)
    assert all(re.search(rf"\b{other}\b", source) for other in others)


def defined(source: str) -> set[str]:
    """Return the names that a module defines: functions, classes, `Class.method`, and constants."""
    names = set[str]()
    for node in ast.parse(source).body:
        if isinstance(node, FUNCTION | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, FUNCTION)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names

"""The pages for readers, README, docs in the order of the site and CONTRIBUTING, and the code in them."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SITE = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
DOCS = [ROOT / "docs" / name for entry in SITE["nav"] for name in entry.values()]
PAGES = [ROOT / "README.md", *DOCS, ROOT / "CONTRIBUTING.md"]
TEXT = "\n".join(page.read_text() for page in PAGES)
BLOCK = re.compile(r"(?:^<!-- (not run|needs): (.+?) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code in a page.

    Attributes:
        page: The page.
        language: What stands after its first fence.
        code: Its lines.
        not_run: Why the tests do not run it, as the comment before it says; empty if they do.
        needs: The command without which the tests do not run it; empty if there is none.
    """

    page: Path
    language: str
    code: str
    not_run: str = ""
    needs: str = ""


def blocks(language: str, pages: Sequence[Path] = PAGES) -> list[Block]:
    """Return the blocks of a language, in the order of the pages."""
    return [
        Block(page, language, code, **({marker.replace(" ", "_"): text} if marker else {}))
        for page in pages
        for marker, text, found, code in BLOCK.findall(page.read_text())
        if found == language
    ]


def without_code(text: str) -> str:
    """Return a page without its blocks of code and what is in backticks."""
    return re.sub(r"`[^`]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

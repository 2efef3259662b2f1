"""SECURITY.md: its limits are those of the code, and what it says is tested has a test."""

import re
from pathlib import Path

import pytest

from serving.execution import scheduler
from serving.process import connection as connections
from serving.requests import multipart as uploads
from serving.settings import Settings
from vision import errors
from vision.images import decode as images
from vision.images import header_limits as claims
from vision.images import npy as arrays

TESTS = Path(__file__).parents[1]
SECURITY = (TESTS.parent / "SECURITY.md").read_text()
LIMITS_TABLE = SECURITY.split("## Limits")[1].split("\n## ")[0]
LIMITS = re.findall(
    r"^\| (.+?) \| ([\d,; .]+(?:KiB|MiB|million|s)?(?:[\d,; ]*)) \| (.+?) \| (.+) \|$",
    LIMITS_TABLE,
    re.MULTILINE,
)
UNITS = {"": 1, "s": 1, "KiB": 2**10, "MiB": 2**20, "million": 10**6}
FIXED = {
    "Address and headers": (connections.MAX_HEAD_BYTES, connections.MAX_HEADERS),
    "Requests that wait for the answer": (connections.MAX_PIPELINED,),
    "Fields of a form": (
        uploads.MAX_FIELDS,
        uploads.MAX_FIELD_BYTES,
        uploads.MAX_CONTENT_TYPE,
        errors.MAX_NAME,
    ),
    "Pictures that a worker's decoding process": (1, images.QUICK_STEPS),
    "Tiles or strips of a TIFF": (0, 0),
    "Scans, EXIF segments": (
        claims.MAX_SCANS,
        claims.MAX_EXIF_SEGMENTS,
        claims.MAX_SEGMENTS,
        claims.MAX_CHUNKS,
        claims.MAX_BLOCKS,
        claims.MAX_BETWEEN,
        claims.MAX_TAG_VALUES,
        arrays.MAX_HEADER_BYTES,
    ),
    "Classes in one answer": (scheduler.MAX_PREDICTIONS,),
}


def quantities(cell: str) -> tuple[float, ...]:
    """Return the numbers of a cell, each times its unit: those with a space or a semicolon between them."""
    found = re.findall(r"(\d[\d,]*\d|\d)(?: (KiB|MiB|million|s)\b)?", cell)
    return tuple(int(number.replace(",", "")) * UNITS[unit] for number, unit in found)


def setting_of(limit: str) -> str | None:
    named = re.match(r"`([A-Z_]+)`", limit)
    return named.group(1).lower() if named else None


def test_every_setting_that_limits_a_client_has_a_row_with_its_default():
    rows = {setting_of(limit): quantities(default) for limit, default, *_ in LIMITS}
    limiting = {
        name: (field.default,)
        for name, field in Settings.model_fields.items()
        if name.startswith("max_") or name.endswith("_seconds")
    }

    assert {name: rows.get(name) for name in limiting} == limiting


@pytest.mark.parametrize("beginning", FIXED)
def test_a_limit_that_is_no_setting_is_the_one_that_the_code_has(beginning):
    (default,) = (default for limit, default, *_ in LIMITS if limit.startswith(beginning))

    assert quantities(default) == FIXED[beginning]


def test_every_row_is_a_setting_or_one_of_the_fixed_limits():
    others = [limit for limit, *_ in LIMITS if setting_of(limit) is None]

    assert len(others) == len(FIXED)
    assert len(LIMITS) == LIMITS_TABLE.count("\n| ") - 1  # but for the heading


def test_every_test_that_is_named_is_there():
    named = set(re.findall(r"`([\w/]+/test_\w+\.py)`", SECURITY))

    assert len(named) > 10
    assert {name for name in named if not (TESTS / name).is_file()} == set()


def test_every_promise_names_the_test_that_holds_the_service_to_it():
    promised = SECURITY.split("## What is promised")[1].split("## ")[0]

    promises = promised.split("\n- ")[1:]

    assert [promise for promise in promises if not re.search(r"`[\w/]+/test_\w+\.py`", promise)] == []

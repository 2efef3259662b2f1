"""What holds for all tests: which are slow, what is trained before them, how examples are made."""

import os
from collections import Counter
from pathlib import Path

# Read when bentoml is imported, which is why it comes before everything else.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")

import hypothesis
import pytest
import torch

from tests.support.trained import MAKERS, trained_folder

pytest_plugins = [
    "tests.support.fixtures_benchmarks",
    "tests.support.fixtures_deploy",
    "tests.support.fixtures_digits",
    "tests.support.fixtures_models",
    "tests.support.fixtures_services",
    "tests.support.long_work",
    "tests.support.production",
]

# The same examples in every run; and no deadline, since a busy machine is no failure.
hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None)
hypothesis.settings.load_profile("seeded")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes long, and begin with the files of which a test may take longest."""
    limits = Counter[Path]()
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        needs_model = bool(MAKERS.keys() & fixtures)
        if needs_model and "start_benchmark" in fixtures:
            item.add_marker("thorough")
        is_slow = needs_model or item.path.parent.name == "bench" or item.get_closest_marker("thorough")
        if is_slow:
            item.add_marker("slow")
        timeout = item.get_closest_marker("timeout")
        limits[item.path] = max(limits[item.path], timeout.args[0] if timeout else bool(is_slow))
    items.sort(key=lambda item: -limits[item.path])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Train what the tests need that are going to run, before the time of any of them is measured."""
    if not session.config.option.collectonly:
        used = {name for item in session.items for name in getattr(item, "fixturenames", ())}
        for name in sorted(MAKERS.keys() & used):
            trained_folder(name, session.config.cache)


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Keep tests and the servers that they start from taking each other's cores."""
    torch.set_num_threads(1)

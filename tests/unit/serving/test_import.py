"""Importing the service makes nothing: no settings, metrics, application or log handler."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
IMPORT_ALL = """
import gc, importlib, logging, pkgutil
import serving
for module in pkgutil.walk_packages(serving.__path__, "serving."):
    importlib.import_module(module.name)
from starlette.applications import Starlette
from serving.metrics import metrics
from serving.settings import settings
made = [thing for thing in gc.get_objects() if type(thing) is Starlette]
print(settings.cache_info().misses, metrics.cache_info().misses, len(made), len(logging.root.handlers))
"""


def test_importing_every_module_makes_no_settings_metrics_application_or_log_handler():
    imported = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        cwd=ROOT,
        env=os.environ | {"WORKERS": "none"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert imported.stdout.split() == ["0", "0", "0", "0"]

"""The log as JSON: whatever is said, and by whom, is one object a line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SETTING_UP = """
import logging, threading, warnings
from bentoml._internal.log import SERVER_LOGGING_CONFIG
from serving.logs import write_json
write_json(SERVER_LOGGING_CONFIG)
"""


@pytest.mark.parametrize(
    ("statement", "level", "logger", "message"),
    [
        (
            "logging.getLogger('bentoml.x').info('two\\nlines, %d', 3)",
            "INFO",
            "bentoml.x",
            "two\nlines, 3",
        ),
        ("logging.getLogger('else').warning('é')", "WARNING", "else", "é"),
        ("logging.getLogger('uvicorn.error').error('once')", "ERROR", "uvicorn.error", "once"),
        ("logging.getLogger('circus').error('once')", "ERROR", "circus", "once"),
        ("warnings.warn('careful')", "WARNING", "py.warnings", "careful"),
        ("1 / 0", "CRITICAL", "python", "ZeroDivisionError: division by zero"),
        (
            "threading.Thread(target=lambda: 1 / 0).start()",
            "CRITICAL",
            "python",
            "ZeroDivisionError: division by zero",
        ),
    ],
    ids=["BentoML", "others", "uvicorn", "circus", "warning", "uncaught", "uncaught in a thread"],
)
def test_whatever_is_said_is_one_line_that_says_who_said_it(statement, level, logger, message):
    command = [sys.executable, "-c", SETTING_UP + statement]

    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert finished.stderr == ""
    (line,) = finished.stdout.splitlines()
    record = json.loads(line)
    assert (record["level"], record["logger"]) == (level, logger)
    assert message in record["message"]
    assert ("traceback" in record) == ("1 / 0" in statement)

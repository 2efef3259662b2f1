"""The log as JSON, one object a line, and the log line of a service that cannot start."""

import logging
import logging.config
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NoReturn

from pythonjsonlogger.core import RESERVED_ATTRS, LogData
from pythonjsonlogger.json import JsonFormatter

from serving.middleware.request_id import request_id

logger = logging.getLogger("python")  # for uncaught exceptions
service_logger = logging.getLogger("bentoml.driftbento")

# Fields that BentoML and uvicorn add to each record for their own formats.
OTHERS_FORMAT = ("levelname_bracketed", "service_name", "request_id", "color_message")


class JsonLines(JsonFormatter):
    """Formats a record as one line of JSON: time, level, logger, message, process, and the extra fields."""

    def __init__(self) -> None:
        super().__init__(
            ["asctime", "levelname", "name", "message", "process"],
            rename_fields={
                "asctime": "time",
                "levelname": "level",
                "name": "logger",
                "exc_info": "traceback",
                "stack_info": "stack",
                "trace_msg": "trace",
            },
            reserved_attrs=[*RESERVED_ATTRS, *OTHERS_FORMAT],
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - logging's
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    def process_log_record(self, log_data: LogData) -> LogData:
        for field in ("component", "trace"):  # BentoML puts them into brackets
            if field in log_data:
                log_data[field] = log_data[field].strip(" []()")
        log_data["request_id"] = request_id()
        return {field: value for field, value in log_data.items() if value != ""}


def write_json(config: dict[str, Any]) -> None:
    """Write the log as JSON from now on, with warnings and uncaught exceptions.

    Args:
        config: BentoML's logging configuration of a server, which is changed.
    """
    for formatter in config["formatters"]:
        config["formatters"][formatter] = {"()": JsonLines}
    for one in config["loggers"].values():
        one["propagate"] = False  # else lines of loggers with a handler of their own come twice
    config["disable_existing_loggers"] = False  # loggers of modules that are imported already exist
    logging.config.dictConfig(config)
    logging.captureWarnings(True)
    sys.excepthook = log_uncaught
    threading.excepthook = lambda failed: log_uncaught(
        failed.exc_type, failed.exc_value, failed.exc_traceback
    )


def log_uncaught(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    logger.critical("%s: %s", kind.__name__, error, exc_info=(kind, error or kind(), traceback))


def refuse_to_start(reason: str) -> NoReturn:
    """Log why the service cannot start, and end this process with status 1."""
    service_logger.critical("%s", reason)
    raise SystemExit(1)

"""The log of `tuneport serve`, on stderr: for people, or as a line of JSON each for log collectors."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum

from tuneport.cli.views import output


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class JSONLogFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in getattr(record, "told", {}).items() if value is not None}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return output.escape_json_controls(json.dumps(line, ensure_ascii=False, default=str))


class TextLogFormatter(logging.Formatter):
    """Format a line for people: `12:30:01 INFO  GET /v1/models 200 3.1 ms  req_...`"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        line = output.terminal_text(super().format(record))
        request_id = getattr(record, "told", {}).get("request_id")
        return f"{line}  {request_id}" if request_id else line


def configure_terminal_logging(log_format: LogFormat, level: LogLevel) -> None:
    """Configure logging: tuneport's own loggers at `level`, all others from warnings on, since their lines may hold
    addresses and contents."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLogFormatter() if log_format is LogFormat.JSON else TextLogFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("tuneport").setLevel(level.upper())

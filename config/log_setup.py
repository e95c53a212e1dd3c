"""Logging of every process: one line for each event, on standard error and in a file, as text or as JSON."""

import logging
import logging.config
import logging.handlers
import sys
import threading
import warnings
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from pythonjsonlogger.core import LogData
from pythonjsonlogger.json import JsonFormatter

from config.environment import SettingsError, variable_name
from config.log_context import LogContext
from config.printable import escaped_json, printable, printable_lines
from config.settings import LogSettings

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

log = logging.getLogger(__name__)


class JsonLines(JsonFormatter):
    """Formats a record as one JSON object: time, level, logger, message, then the values of config.log_context."""

    def __init__(self) -> None:
        super().__init__(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
            # Celery adds "data" to its records about tasks.
            reserved_attrs=[*_RESERVED, "data"],
            json_ensure_ascii=False,
        )

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record; JSON itself escapes some of the characters that control a terminal only."""
        return escaped_json(super().format(record))

    def add_fields(self, log_data: LogData, record: logging.LogRecord, message_dict: LogData) -> None:
        """Add the fields of a record, with the time (UTC) first."""
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        super().add_fields(log_data, record, message_dict)


# The attributes of every record; all others were added with ``extra`` or by the filter.
_RESERVED = [*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"]


class TextLines(logging.Formatter):
    """Formats a record as one line and those of its exception; no character of them controls a terminal."""

    def __init__(self) -> None:
        super().__init__(_FORMAT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of a record; names of files and answers of servers in it stay on it."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """Return the lines of an exception."""
        return printable_lines(super().formatException(ei))


class _LogFile(logging.handlers.WatchedFileHandler):
    """Adds lines to a file that several processes write to, each line with one write at its end.

    Where the file has been moved or removed, a new one is begun. A line that cannot be written is left out: standard
    error has it, and a server must not fail because of its log.
    """

    _is_said = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            super().emit(record)
        except OSError:  # the folder is gone
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once why lines are left out; an error of the record itself is reported as everywhere."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._is_said:
            self._is_said = True
            reason = error.strerror or error
            sys.stderr.write(f"{self.baseFilename} lacks lines of the log, which cannot be written: {reason}\n")


def check_log_file(settings: LogSettings) -> None:
    """Make the folder of the log file, and check that the file can be written. Raises SettingsError."""
    if settings.path is None:
        return
    try:
        if not settings.path.parent.exists():
            settings.path.parent.mkdir(parents=True, exist_ok=True)
        with settings.path.open("a"):
            pass
    except OSError as error:
        setting = variable_name("log", "path")
        reason = error.strerror or error
        raise SettingsError(
            f"setting {setting} (--log_path): {settings.path} cannot be written: {reason}; name a file that can be."
        ) from error


def configure_logging(settings: LogSettings, quiet: tuple[str, ...] = ()) -> None:
    """Log to standard error, and to a file if one is named; loggers in ``quiet`` log warnings and errors only.

    Raises SettingsError for a file that cannot be written.
    """
    check_log_file(settings)
    file = _file_handler(settings.path, settings.format) if settings.path is not None else {}
    handlers = ["stderr", *file]
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"context": {"()": LogContext}},
            "formatters": {"text": {"()": TextLines}, "json": {"()": JsonLines}},
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": settings.format, "filters": ["context"]},
                **file,
            },
            "root": {"level": settings.level, "handlers": handlers},
            "loggers": {
                # These log the whole URL of each request, and a URL of a download can carry a signature.
                **{name: {"level": "WARNING"} for name in ("httpx2", "httpcore2")},
                # What is odd in an image that a client sent is for its answer; Pillow has a line for each EXIF tag.
                "PIL": {"level": "CRITICAL"},
                **{name: {"level": "WARNING"} for name in quiet},
                # Celery's pool logs the death of a child here, and this logger does not propagate to root.
                "multiprocessing": {"level": "WARNING", "handlers": handlers, "propagate": False},
            },
        }
    )
    warnings.filterwarnings("ignore", module="PIL")
    if settings.format == "json" or settings.path is not None:
        _log_warnings_and_uncaught()


def _file_handler(path: Path, log_format: str) -> dict[str, dict[str, Any]]:
    described = {"()": _LogFile, "filename": str(path), "encoding": "utf-8", "errors": "backslashreplace"}
    return {"file": {**described, "formatter": log_format, "filters": ["context"]}}


def _log_warnings_and_uncaught() -> None:
    """Log warnings and uncaught exceptions, which Python prints: a program that reads the log expects JSON only, and a
    file has only what is logged.
    """
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("the process ends: %s", kind.__name__, exc_info=(kind, error, trace))


def _log_uncaught_in_thread(raised: threading.ExceptHookArgs) -> None:
    if raised.exc_value is None or issubclass(raised.exc_type, SystemExit):
        return
    name = raised.thread.name if raised.thread else "?"
    trace = (raised.exc_type, raised.exc_value, raised.exc_traceback)
    log.critical("thread %s ends: %s", name, raised.exc_type.__name__, exc_info=trace)

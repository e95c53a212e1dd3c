"""How every process logs: one line an event, to standard error, for people or as JSON."""

import logging
import logging.config
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType

from pythonjsonlogger.core import LogData
from pythonjsonlogger.json import JsonFormatter

from config.log_context import LogContext
from config.settings import LogSettings

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

log = logging.getLogger(__name__)


class JsonLines(JsonFormatter):
    """One JSON object a line: time, level, logger, message, then whatever is known of the request and the job."""

    def __init__(self) -> None:
        super().__init__(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
            # "data" is Celery's, about its tasks.
            reserved_attrs=[*_RESERVED, "data"],
            json_ensure_ascii=False,
        )

    def add_fields(self, log_data: LogData, record: logging.LogRecord, message_dict: LogData) -> None:
        """Put the time first, in UTC."""
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        super().add_fields(log_data, record, message_dict)


# What every record has; all else was put there by somebody.
_RESERVED = [*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"]


def configure_logging(settings: LogSettings, quiet: tuple[str, ...] = ()) -> None:
    """Send log lines of this process to standard error; loggers named in ``quiet`` only warn."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"context": {"()": LogContext}},
            "formatters": {"text": {"format": _FORMAT}, "json": {"()": JsonLines}},
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": settings.format, "filters": ["context"]}
            },
            "root": {"level": settings.level, "handlers": ["stderr"]},
            "loggers": {
                **{name: {"level": "WARNING"} for name in quiet},
                # Celery's pool tells here that a child died, and passes nothing on to root.
                "multiprocessing": {"level": "WARNING", "handlers": ["stderr"], "propagate": False},
            },
        }
    )
    if settings.format == "json":
        _log_what_is_printed_otherwise()


def _log_what_is_printed_otherwise() -> None:
    """Warnings and uncaught exceptions are lines like all others: what reads the log expects JSON in each."""
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

"""How every process logs: one line an event, to standard error."""

import logging
import logging.config

from config.settings import LogSettings

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure_logging(settings: LogSettings, quiet: tuple[str, ...] = ()) -> None:
    """Send log lines of this process to standard error; loggers named in ``quiet`` only warn."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": _FORMAT}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": settings.level, "handlers": ["stderr"]},
            "loggers": {name: {"level": "WARNING"} for name in quiet},
        }
    )

"""What a log line is about: the request, the job and its attempt, known wherever a line is written below.

A context variable and not an argument: it follows a request through coroutines and a job through its run. A thread
that somebody else started (a runtime's callback) is given it with ``contextvars.copy_context().run``.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_NOTHING: Mapping[str, object] = MappingProxyType({})
_about: ContextVar[Mapping[str, object]] = ContextVar("log_context", default=_NOTHING)
_everywhere: dict[str, object] = {}


@contextmanager
def logged_with(**values: object) -> Iterator[None]:
    """Put these values into every log line written in the block; None counts as not known."""
    token = _about.set({**_about.get(), **_known(values)})
    try:
        yield
    finally:
        _about.reset(token)


def log_from_here_with(**values: object) -> None:
    """Put these values into every line from here to the end of the enclosing ``logged_with``."""
    _about.set({**_about.get(), **_known(values)})


def log_always_with(**values: object) -> None:
    """Put these values into every line of this process, and of the processes that it forks."""
    _everywhere.update(_known(values))


def _known(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


class LogContext(logging.Filter):
    """Gives each record what is known where it was written; a record's own ``extra`` wins."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add to the record, and let it pass."""
        for name, value in {**_everywhere, **_about.get()}.items():
            if name not in record.__dict__:
                setattr(record, name, value)
        return True

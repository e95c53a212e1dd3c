"""The values that every log line carries: the ids of the request and the job, the attempt.

They are kept in a context variable, which follows a request through coroutines and a job through its run. A thread
that other code has started (a callback of a runtime) gets them with ``contextvars.copy_context().run``.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_EMPTY: Mapping[str, object] = MappingProxyType({})
_context_values: ContextVar[Mapping[str, object]] = ContextVar("log_context", default=_EMPTY)
_process_values: dict[str, object] = {}


@contextmanager
def logged_with(**values: object) -> Iterator[None]:
    """Add these values to every log line written in the block; a value that is None is left out."""
    token = _context_values.set({**_context_values.get(), **_known(values)})
    try:
        yield
    finally:
        _context_values.reset(token)


def log_from_here_with(**values: object) -> None:
    """Add these values to every log line from here to the end of the enclosing ``logged_with``."""
    _context_values.set({**_context_values.get(), **_known(values)})


def log_always_with(**values: object) -> None:
    """Add these values to every log line of this process and of the processes that it forks."""
    _process_values.update(_known(values))


def _known(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


class LogContext(logging.Filter):
    """A logging filter that adds the values to each record; the record's own ``extra`` wins."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the values to the record and return True."""
        for name, value in {**_process_values, **_context_values.get()}.items():
            if name not in record.__dict__:
                setattr(record, name, value)
        return True

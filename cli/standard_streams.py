"""The standard streams of the command: closed ones, ones that cannot be written, and encodings that lack characters."""

import io
import os
import sys
from typing import TextIO

from cli.errors import UserError

_STDERR = 2


class _Output(io.FileIO):
    """Standard output or error. After the first failure to write, what is written is lost."""

    def __init__(self, number: int, *, may_be_lost: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.may_be_lost = may_be_lost

    def write(self, data: object) -> int:
        """Write some bytes, and return how many.

        Where the output may not be lost, BrokenPipeError says that it has no reader any more, and UserError that it
        cannot be written.
        """
        try:
            return super().write(data) or 0  # type: ignore[arg-type]
        except OSError as error:
            # Later writes, also Python's own at the end, go nowhere and do not fail again.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if self.may_be_lost:
                return super().write(data) or 0  # type: ignore[arg-type]
            if isinstance(error, BrokenPipeError):
                raise
            raise UserError(
                f"the standard output cannot be written: {error.strerror}; make room, or send it elsewhere."
            ) from error


def open_closed_streams() -> None:
    """Open the null device for each standard stream that is closed.

    The next file or socket that is opened would else get its number, and what is printed would be written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def prepare_outputs(*, may_be_lost: bool = False) -> None:
    """Let standard error, and with ``may_be_lost`` standard output too, be lost instead of ending the process.

    A character that an encoding lacks is printed as a question mark.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    sys.stdout = _stream(sys.stdout, may_be_lost=may_be_lost)
    sys.stderr = _stream(sys.stderr, may_be_lost=True)


def _stream(old: TextIO, *, may_be_lost: bool) -> TextIO:
    try:
        number = old.fileno()
    except io.UnsupportedOperation:  # what stands in its place in this process is no file
        return old
    raw = _Output(number, may_be_lost=may_be_lost)
    is_by_line = number == _STDERR or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), old.encoding, "replace", line_buffering=is_by_line)

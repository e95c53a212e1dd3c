"""Takes secrets that were typed as options out of the list of processes, which every user of the machine can read.

Linux shows there the memory that holds the arguments (proc_pid_cmdline(5)), so the secret is overwritten in it; Python
has copies of its own. Until this has run, the secret is visible for the moment in which Python starts. On other
systems it stays visible. The environment and files do not show at all: they are the better places.
"""

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

_OPTIONS = (b"--api_key", b"--redis_url")
# Of /proc/PID/stat (proc_pid_stat(5)), counted from the field after the command's name.
_ARG_START = 48 - 3


def hide_secret_arguments() -> None:
    """Overwrite keys and passwords among the arguments of this process with asterisks."""
    if sys.platform != "linux":
        return
    try:
        arguments = Path("/proc/self/cmdline").read_bytes().split(b"\0")
        address = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[_ARG_START])
    except OSError:  # /proc is not there, so there is no list of processes either
        return
    if not address:  # the kernel does not say
        return
    for offset, length in _secrets(arguments):
        ctypes.memset(address + offset, ord("*"), length)


def _secrets(arguments: list[bytes]) -> Iterator[tuple[int, int]]:
    """Yield where each secret begins in the arguments, which end in NUL, and its length in bytes."""
    offset = 0
    option = b""
    for argument in arguments:
        written, equals, value = argument.partition(b"=")
        name = _option(written)
        if equals and name in _OPTIONS:
            yield from _secret(name, value, offset + len(written) + 1)
        elif option in _OPTIONS:
            yield from _secret(option, argument, offset)
        option = _option(argument)
        offset += len(argument) + 1


def _option(argument: bytes) -> bytes:
    """Return the name of an option that may be written with dashes inside, ``--api-key``."""
    return b"--" + argument[2:].replace(b"-", b"_") if argument.startswith(b"--") else argument


def _secret(option: bytes, value: bytes, offset: int) -> Iterator[tuple[int, int]]:
    """Yield the place of the secret in an option's value: all of a key, the password of a URL."""
    if option == b"--api_key":
        yield offset, len(value)
        return
    try:
        password = urlsplit(value).password
    except ValueError:  # it is no URL, and the command will say so
        password = None
    if password:
        yield offset + value.index(b":", value.index(b"//")) + 1, len(password)

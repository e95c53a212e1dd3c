"""A file of variables, one a line, as systemd's EnvironmentFile and Docker's --env-file have them."""

import os
from pathlib import Path

from dotenv.parser import parse_stream

# The file that is read from the data folder where it exists.
NAME = ".env"


class EnvFileError(Exception):
    """A file of variables cannot be used; the message names file and line."""


def read_env_file(path: Path) -> None:
    """Put the variables of a file into this process's environment, unless they are set there already.

    Raises EnvFileError where the file cannot be read, or a line is no ``NAME=value``.
    """
    try:
        with path.open(encoding="utf-8-sig") as lines:
            bindings = list(parse_stream(lines))
    except OSError as error:
        raise EnvFileError(f"the file of variables {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise EnvFileError(f"the file of variables {path} is not UTF-8 text.") from error
    for binding in bindings:
        if binding.error or (binding.key is not None and binding.value is None):
            raise EnvFileError(f"{path}, line {binding.original.line}: a line must be NAME=value, or begin with #.")
        if binding.key is not None and binding.value is not None:
            os.environ.setdefault(binding.key, binding.value)

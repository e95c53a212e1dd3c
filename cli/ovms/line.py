"""Reads a line of OpenVINO Model Server's flags."""

import difflib
from collections.abc import Iterator, Mapping, Sequence

from cli.errors import UserError
from cli.ovms.flags import FLAGS, typed
from cli.task_options import IMAGE_TASK

GivenFlags = Mapping[str, str]
"""The flags that were given, by name, with their values; a switch has the value ``true``."""

_SWITCHED = {"true": True, "1": True, "false": False, "0": False}
_SEE = "`imagegen ovms --help` and docs/ovms.md have the flags."


def read_line(line: Sequence[str]) -> GivenFlags:
    """Return the flags of a line; of a flag that is given twice, the last value. A switch that is off is left out.

    Raises UserError for a flag that does not exist, one without its value, and a value of the wrong kind.
    """
    given: dict[str, str] = {}
    _check_task(line)
    words = iter(line)
    for word in words:
        name, value = _read_flag(word, words)
        given.pop(name, None)
        if value is not None:
            given[name] = value
    return given


def _read_flag(word: str, following: Iterator[str]) -> tuple[str, str | None]:
    if word == "-h":
        return "help", "true"
    if not word.startswith("--") or word == "--":
        raise UserError(f"{word!r} follows no flag that takes a value; {_SEE}")
    written, has_value, value = word.removeprefix("--").partition("=")
    name = written.replace("-", "_")
    if name not in FLAGS:
        raise UserError(f"--{written}: there is no such flag{_nearest(name)}; {_SEE}")
    kind = FLAGS[name].kind
    if kind == "switch":
        return name, _switched(name, value if has_value else "true")
    if not has_value:
        found = next(following, None)
        if found is None or _is_flag(found):
            raise UserError(f"{typed(name)} needs a value, as {typed(name)} VALUE or {typed(name)}=VALUE.")
        value = found
    if kind == "number" and not (value.isascii() and value.isdecimal()):
        raise UserError(f"{typed(name)} {value}: this must be a whole number, 0 or more.")
    return name, value


def _is_flag(word: str) -> bool:
    """Return whether a word is one of the flags; any other word may be a value, also one that begins with ``--``."""
    return word.startswith("--") and word.removeprefix("--").partition("=")[0].replace("-", "_") in FLAGS


def _check_task(line: Sequence[str]) -> None:
    """Refuse a line for another task as a whole: its other flags are not those of images."""
    for word, following in zip(line, [*line[1:], ""], strict=True):
        name, has_value, value = word.partition("=")
        task = value if has_value else following
        if name == "--task" and task and task != IMAGE_TASK and not _is_flag(task):
            raise UserError(f"--task {task}: this server draws images only, which is --task {IMAGE_TASK}.")


def _switched(name: str, value: str) -> str | None:
    if value.lower() not in _SWITCHED:
        raise UserError(f"{typed(name)}={value}: this must be true or false, or the flag alone for true.")
    return "true" if _SWITCHED[value.lower()] else None


def _nearest(name: str) -> str:
    found = difflib.get_close_matches(name, FLAGS, n=1)
    return f" (did you mean {typed(found[0])}?)" if found else ""

"""Writes the reference pages of docs/ from the code: ``python -m tools.write_reference [--check]``.

The settings come from config/settings.py, the commands and their options from the command line itself. ``--check``
writes nothing and ends with code 1 if a page is not current.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin

import typer
from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.core import TyperCommand, TyperGroup

from cli.main import app
from cli.options import SETTING_OPTIONS
from config.environment import OTHER_VARIABLES, variable_name
from config.settings import Settings
from tools.own_options_page import own_options_page
from tools.parameters_page import parameters_page
from tools.tables import table

ROOT = Path(__file__).resolve().parents[1]
_TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
_OPTIONS = {setting: option for option, (setting, _) in SETTING_OPTIONS.items()}
_SETTINGS_PAGE = """\
# Settings

<!-- Written by `make reference` from config/settings.py; edit that file, not this page. -->

A setting is read from its environment variable, and some from an option of the command line as well ([cli.md](cli.md)
lists which command takes which option). Settings that are to stay are lines `NAME=value` of a file: `.env` in the
data folder, or the one of `--env_file`; the environment wins over the file. An option wins over the environment, the
environment over the default. A wrong setting ends the command with a sentence that names its variable. Names that end
in `_S` are seconds, `_BYTES` bytes, `_PIXELS` pixels. Where a row names a second variable, it is read if the first is
not set. In the other pages a setting is named by its group and its name: `jobs.lease_s` is `IMAGEGEN_JOBS__LEASE_S`.

One more variable is read: `XDG_DATA_HOME`, the folder that holds the data folder `imagegen`. Variables of Celery,
Kombu, uvicorn and prometheus-client (`CELERY_...`, `BROKER_URL`, `WEB_CONCURRENCY`, `PROMETHEUS_MULTIPROC_DIR` and
others) have no effect: they may be another project's.
"""
_CLI_PAGE = """\
# Command line

<!-- Written by `make reference` from cli/ and config/settings.py; edit those, not this page. -->
<!-- blocks run by tests/tools/test_write_reference.py::test_the_pages_are_current -->

`imagegen COMMAND --help` prints the same. Each command ends with code 0 when it is done, with 2 and one sentence on
standard error when something must be changed, and with 130 after Ctrl-C. [settings.md](settings.md) has the environment
variables of the options that set a setting.
"""


def settings_page() -> str:
    """Return docs/settings.md."""
    return "\n".join((_SETTINGS_PAGE, *_settings_lines()))


def cli_page() -> str:
    """Return docs/cli.md."""
    group = typer.main.get_command(app)
    if not isinstance(group, TyperGroup):
        raise TypeError("the command line has no subcommands")
    return "\n".join((_CLI_PAGE, *_group_lines(group, "imagegen")))


PAGES = {
    "docs/settings.md": settings_page,
    "docs/cli.md": cli_page,
    "docs/parameters.md": parameters_page,
    "docs/imagegen-toml.md": own_options_page,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them; return the exit code."""
    texts = {ROOT / path: page() for path, page in PAGES.items()}
    old = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in old:
            print(f"{path.relative_to(ROOT)} is not current: run `make reference`.", file=sys.stderr)
        return 1 if old else 0
    for path in old:
        path.write_text(texts[path])
    return 0


def _settings_lines() -> Iterator[str]:
    single = {name: field for name, field in Settings.model_fields.items() if not _is_group(field)}
    for name, field in Settings.model_fields.items():
        if name in single:
            continue
        group = field.annotation
        assert isinstance(group, type) and issubclass(group, BaseModel)
        yield from _setting_table(name, group.__doc__ or "", group.model_fields, name)
    yield from _setting_table("Without a group", "Its variable has no group in its name.", single)


def _is_group(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _setting_table(title: str, about: str, fields: dict[str, FieldInfo], *group: str) -> Iterator[str]:
    rows = [
        (
            _variables(*group, name),
            f"`--{option}`" if (option := _OPTIONS.get(".".join((*group, name)))) else "",
            _type(field),
            _default(name, field),
            field.description or "",
        )
        for name, field in fields.items()
    ]
    yield from (f"## {title}", "", about.replace("``", "`"), "")
    yield from table(("variable", "option", "type", "default", "what it does"), rows)


def _variables(*path: str) -> str:
    others = [variable for variable, setting in OTHER_VARIABLES.items() if setting == path]
    return ", ".join(f"`{variable}`" for variable in (variable_name(*path), *others))


def _type(field: FieldInfo) -> str:
    annotation = field.annotation
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not NoneType)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    bounds = [text for bound in field.metadata if (text := _bound(bound))]
    return ", ".join((_TYPES[annotation], *bounds))  # type: ignore[index]  # a type without a name here is a KeyError


def _bound(bound: object) -> str:
    match bound:
        case Gt(gt=value):
            return f"more than {value}"
        case Ge(ge=value):
            return f"at least {value}"
        case Le(le=value):
            return f"at most {value}"
        case MinLen(min_length=value):
            return f"at least {value} character"
        case _:
            return ""


def _default(name: str, field: FieldInfo) -> str:
    value = field.default
    if field.default_factory is not None or value is None:
        return ""
    if "_bytes" in name:
        return f"`{value}` ({_binary(value)})"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _binary(count: int) -> str:
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count % 2**power == 0:
            return f"{count >> power} {unit}"
    return f"{count} bytes"


def _group_lines(group: TyperGroup, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        full = f"{path} {name}"
        if isinstance(command, TyperGroup):
            yield from (f"## {full}", "", command.help or "", "")
            yield from _group_lines(command, full)
        elif isinstance(command, TyperCommand):
            yield from _command_lines(command, full)


def _command_lines(command: TyperCommand, path: str) -> Iterator[str]:
    # Nothing is parsed, so an argument that is required may be missing.
    context = command.make_context(path, [], resilient_parsing=True)
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    yield from (f"## {path}", "", "```", " ".join((path, *command.collect_usage_pieces(context))), "```", "")
    yield from ((command.help or "").strip(), "")
    yield from table(("option", "what it does"), [(f"`{record[0]}`", record[1]) for record in records if record])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

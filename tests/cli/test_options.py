"""The table of the options that set a setting."""

import typer.main

from cli.main import app
from cli.options import SETTING_OPTIONS, setting_field


def test_every_option_has_a_setting() -> None:
    assert all(setting_field(setting).description for setting, _ in SETTING_OPTIONS.values())


def test_every_command_has_exactly_the_options_that_name_it() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    keys = group.commands["keys"]
    assert isinstance(keys, typer.core.TyperGroup)
    taking = {name: group.commands[name] for name in ("serve", "api", "worker", "doctor")}
    taking["rotate_signing"] = keys.commands["rotate-signing"]
    for name, command in taking.items():
        listed = {option for option, (_, commands) in SETTING_OPTIONS.items() if name in commands.split()}
        assert {parameter.name for parameter in command.params} & set(SETTING_OPTIONS) == listed
    assert {name for _, commands in SETTING_OPTIONS.values() for name in commands.split()} == set(taking)

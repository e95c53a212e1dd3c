"""The table of the options that set a setting."""

import pytest
import typer.main

from cli.main import app, run
from cli.options import SETTING_OPTIONS, setting_field


def test_every_option_has_a_setting() -> None:
    assert all(setting_field(setting).description for setting, _ in SETTING_OPTIONS.values())


def test_every_command_has_exactly_the_options_that_name_it() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    keys = group.commands["keys"]
    assert isinstance(keys, typer.core.TyperGroup)
    taking = {name: group.commands[name] for name in ("serve", "pull", "export", "api", "worker", "doctor")}
    taking["rotate_signing"] = keys.commands["rotate-signing"]
    for name, command in taking.items():
        listed = {option for option, (_, commands) in SETTING_OPTIONS.items() if name in commands.split()}
        assert {parameter.name for parameter in command.params} & set(SETTING_OPTIONS) == listed
    assert {name for _, commands in SETTING_OPTIONS.values() for name in commands.split()} == set(taking)


@pytest.mark.parametrize("spelling", ["--rest_port", "--rest-port"])
def test_an_option_may_be_spelled_with_dashes(spelling: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(["serve", spelling, "many"])
    assert "Invalid value for '--rest_port'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "completed"),
    [("imagegen se", "serve"), ("imagegen serve --rest_p", "--rest_port"), ("imagegen jobs ca", "cancel")],
)
def test_a_shell_completes_commands_and_options(
    words: str, completed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_IMAGEGEN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit, match="0"):
        run([])
    assert completed in capsys.readouterr().out.split()

"""``imagegen ovms``: takes the command line of OpenVINO Model Server."""

from pathlib import Path

import typer

from cli.options import read_settings_file
from cli.ovms.line import read_line
from cli.ovms.translation import OvmsSurroundings, translate
from cli.terminal import say, say_lines
from config.environment import model_server_models_folder, variable_that_sets

LINE_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""What the command needs of typer: its flags are read here."""

_MODEL_SETTINGS = ("model_path", "config_path", "model_repository_path")


def ovms(context: typer.Context) -> None:
    """Do what OpenVINO Model Server's flags ask for; `imagegen --rest_port ...` is the same without the word.

    For example `imagegen ovms --rest_port 8000 --model_path P --model_name N`. A flag that has no meaning here gets a
    line on standard error; docs/ovms.md has all of them.
    """
    if not context.args:
        say_lines(context.get_help())
        return
    given = read_line(context.args)
    env_file, data_dir = (Path(given[name]) if name in given else None for name in ("env_file", "data_dir"))
    read_settings_file(env_file, data_dir)
    around = OvmsSurroundings(
        models_folder=model_server_models_folder(),
        sets_address=variable_that_sets("http", "rest_bind_address") is not None,
        sets_port=variable_that_sets("http", "rest_port") is not None,
        sets_models=any(variable_that_sets("repository", name) for name in _MODEL_SETTINGS),
    )
    translation = translate(given, around)
    for sentence in translation.said:
        say(f"imagegen: {sentence}.", err=True)
    root = context.find_root().command
    code = root.main(translation.words, prog_name="imagegen", standalone_mode=False)
    if isinstance(code, int) and code:
        raise typer.Exit(code)

"""The command ``imagegen``: its subcommands, and how it reports an error that the user can mend."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from cli.commands.adapters import adapters
from cli.commands.api import api
from cli.commands.configure import configure
from cli.commands.doctor import doctor
from cli.commands.export import export
from cli.commands.generate import generate
from cli.commands.jobs import jobs
from cli.commands.keys import keys
from cli.commands.models import models
from cli.commands.ovms import LINE_SETTINGS, ovms
from cli.commands.pull import pull
from cli.commands.serve import serve
from cli.commands.validate import validate
from cli.commands.worker import worker
from cli.errors import UserError
from cli.secret_arguments import hide_secret_arguments
from cli.standard_streams import prepare_outputs
from cli.terminal import say
from config import VERSION
from config.environment import SettingsError
from graphs.errors import ConfigurationError


def _with_underscores(name: str) -> str:
    """Return the name of an option as it is declared: ``--rest-port`` is ``--rest_port``, which Model Server has."""
    return name.replace("-", "_")


app = typer.Typer(
    name="imagegen",
    help="OpenAI-compatible image generation on OpenVINO GenAI, behind a durable job queue.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"token_normalize_func": _with_underscores},
)
# Options of the command itself; a line that begins with any other one is Model Server's.
_OWN_FIRST_OPTIONS = ("--help", "--version", "--install-completion", "--show-completion")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        say(f"imagegen-server {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


for _command in (serve, pull, export, api, worker, configure, validate, doctor, generate):
    app.command()(_command)
app.command(context_settings=LINE_SETTINGS)(ovms)
app.add_typer(models)
app.add_typer(jobs)
app.add_typer(adapters)
app.add_typer(keys)
# Made once; calling the app itself would make every command of it anew each time.
_imagegen = typer.main.get_command(app)


def run(args: list[str] | None = None) -> None:
    """Run the command line (``args``, by default that of this process) and exit with its code.

    The code is 0 for success, 2 for something the user must change (one sentence on standard error), 130 after Ctrl-C.
    """
    if args is None:
        hide_secret_arguments()  # again, for those who call this and not cli.__main__
        prepare_outputs()
    try:
        code = _imagegen(
            _with_command(sys.argv[1:] if args is None else args), prog_name="imagegen", standalone_mode=False
        )
        sys.stdout.flush()
    except (ConfigurationError, SettingsError, UserError) as error:
        _print_error(str(error))
        code = 2
    except UnicodeEncodeError as error:  # Python reads bytes of another encoding as lone surrogates
        _print_error(f"an argument or a file's name is not UTF-8 text: {error.object[:200]}")
        code = 2
    except typer.TyperException as error:
        if error.format_message():  # empty if typer has printed the help instead
            _print_error(_usage_sentence(error))
        code = error.exit_code
    except BrokenPipeError:  # who read the output has enough of it
        code = 1
    except OSError as error:
        if error.filename is None:
            raise
        _print_error(f"{error.filename} cannot be used: {error.strerror}; see that it exists and who may write to it.")
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _with_command(words: Sequence[str]) -> list[str]:
    """Return the words with the command ``ovms`` before a line that begins with one of Model Server's options."""
    if words and words[0] == "-h":
        return ["--help"]
    is_line = bool(words) and words[0].startswith("--") and words[0] not in _OWN_FIRST_OPTIONS
    return ["ovms", *words] if is_line else list(words)


def _print_error(message: str) -> None:
    say(f"imagegen: {message}", err=True)


def _usage_sentence(error: typer.TyperException) -> str:
    context: typer.Context | None = getattr(error, "ctx", None)
    sentence = error.format_message().rstrip(".")
    return f"{sentence}; see `{context.command_path} --help`." if context else sentence

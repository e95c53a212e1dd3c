"""Runs ``imagegen``, also as ``python -m cli``."""

import os
import sys

from cli.secret_arguments import hide_secret_arguments
from cli.standard_streams import open_closed_streams
from config.environment import leave_out_foreign_variables


def main() -> None:
    """Run the command line. Secrets are hidden first: importing the commands takes a part of a second.

    The variables of other projects are left out before Celery is imported, which reads them.
    """
    hide_secret_arguments()
    open_closed_streams()
    if "PYTHONOPTIMIZE" in leave_out_foreign_variables():  # Python has left out the docstrings, which are the help
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    from cli.main import run

    run()


if __name__ == "__main__":
    main()

"""The command ``imagegen``, with this project's packages before those of the same names on PYTHONPATH."""

import sys
from pathlib import Path


def main() -> None:
    """Run the command line. A package ``config`` or ``api`` of another project would else be imported in its place."""
    root = str(Path(__file__).resolve().parent)
    sys.path[:] = [root, *(path for path in sys.path if path != root)]
    from cli.__main__ import main as run

    run()

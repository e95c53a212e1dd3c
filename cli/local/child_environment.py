"""The environment of the processes that the command line starts."""

import os
from pathlib import Path

from config.environment import settings_environment
from config.settings import Settings

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def child_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a child process that imports this project's packages and reads these settings."""
    environment = settings_environment(settings)
    inherited = environment.get("PYTHONPATH", "")
    paths = [str(PROJECT_ROOT), *(path for path in inherited.split(os.pathsep) if path)]
    return environment | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}

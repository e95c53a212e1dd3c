"""The line above each table: the day, the machine and the versions."""

import os
import platform
import time
from importlib.metadata import version


def machine() -> str:
    """Return the day, the number of cores, their load, and the versions of Python and of the packages."""
    packages = ("openvino", "openvino-genai", "celery", "redis", "fastapi", "uvicorn")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    day = time.strftime("%Y-%m-%d")
    return f"{day}, {os.cpu_count()} cores, load {load}, Python {platform.python_version()}, {versions}"

"""The environment with PyTorch, which is prepared once for all tests of export that need it."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, in which the first export prepares the environment; EXPORT_DATA_DIR names one that has it."""
    given = os.environ.get("EXPORT_DATA_DIR")
    return Path(given) if given else tmp_path_factory.mktemp("data")

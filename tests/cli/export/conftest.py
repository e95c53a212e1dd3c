"""The environment with PyTorch, which is prepared once for all tests of export that need it."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def export_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, in which the first export prepares the environment."""
    return tmp_path_factory.mktemp("data")

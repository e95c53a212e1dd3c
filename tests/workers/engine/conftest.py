"""Fixtures of the engine tests: compiled models that the tests of one process share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.engine.engine_support import Engines


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of compiled models for the whole run, so that no tiny model is compiled twice."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="session")
def engines(openvino_runtime: None, cache_dir: Path) -> Iterator[Engines]:
    """The loaded engines of the tiny models, for tests that change none of them."""
    shared = Engines(cache_dir)
    yield shared
    shared.unload()

"""The service that the fuzzing tests attack."""

from collections.abc import Iterator

import pytest

from tests.fuzz.fuzz_support import attacked
from tests.stack.support import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with attacked(tmp_path_factory.mktemp("attacked")) as running:
        yield running

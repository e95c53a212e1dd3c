"""How the test files are distributed over the processes of pytest-xdist: slow files first, shared services once."""

import pytest
from xdist.scheduler import LoadFileScheduling

# Files of one group share a session fixture that starts a service: in one process it is started once.
_GROUPS = (
    {f"tests/stack/test_{name}.py" for name in ("jobs", "openai_client", "pixels", "prompts")},
    {f"tests/fuzz/test_{name}.py" for name in ("forms", "hostile_images", "openapi", "requests")},
)
# A file's rank is that of its slowest test.
_RANKS = {"process": 0, "model": 0, "redis": 1, "slow": 1}
_FAST = 2


class SlowFirst(LoadFileScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Distributes whole files, those of one group together, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((min(group) for group in _GROUPS if file in group), file)


def sort_slow_first(items: list[pytest.Item]) -> None:
    """Sort tests by the rank of their file, so that short files fill up the time at the end."""
    ranks: dict[object, int] = {}
    for item in items:
        rank = min(_RANKS.get(mark.name, _FAST) for mark in item.iter_markers())
        ranks[item.path] = min(rank, ranks.get(item.path, _FAST))
    items.sort(key=lambda item: ranks[item.path])

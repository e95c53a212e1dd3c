"""A machine without what its user has of the Hub: a token, a cache, a proxy."""

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from workers.sources.models import transfer


@pytest.fixture(autouse=True)
def _without_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(transfer, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("workers.sources.hub_client.get_token", lambda: None)
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: None)
    monkeypatch.setattr(transfer, "_FIRST_WAIT_S", 0.01)
    yield
    huggingface_hub.close_session()

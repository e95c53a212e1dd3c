"""The command line's client, against the real API on a real Redis."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from cli.client.http_client import ServerClient
from cli.errors import UserError
from config.settings import RedisSettings
from tests.api.api_support import Api, serving, settings_for


@pytest.fixture
def api(redis_settings: RedisSettings) -> Iterator[Api]:
    with serving(settings_for(redis_settings)) as running:
        yield running


def test_following_goes_on_after_the_last_event_of_a_cut_stream(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = api.submitted()["id"]
    api.complete(job_id)
    whole = ServerClient._events_after
    asked: list[int] = []

    def cut(client: ServerClient, job: str, after: int) -> Iterator[dict[str, Any]]:
        asked.append(after)
        for event in whole(client, job, after):
            yield event
            if event["type"] == "queued":
                raise httpx2.ReadError("cut")

    monkeypatch.setattr(ServerClient, "_events_after", cut)
    with ServerClient(str(api.http.base_url), None, 10) as client:
        events = list(client.events(job_id))
    assert [event["type"] for event in events] == ["queued", "in_progress", "completed"]
    assert asked == [0, events[0]["sequence_number"]]


def test_a_server_on_this_machine_is_asked_without_a_proxy(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1")
    with ServerClient(str(api.http.base_url), None, 10) as client:
        assert client.models()
    with ServerClient("http://images.example", None, 10) as client, pytest.raises(UserError) as refused:
        client.models()
    assert "through the proxy socks5h://127.0.0.1:1" in str(refused.value)

"""The stream of all jobs of an owner, over HTTP."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from config.settings import RedisSettings
from tests.api.api_support import PNG, Api, error_of, serving, settings_for
from tests.security.owners import ADMIN, BODY, KEYS, ONE, TWO, put, write_keys
from tests.support.polling import wait_until
from tests.support.redis_server import RunningRedis
from workers.jobs.claims import Preview

JOBS, EVENTS = "/v3/images/jobs", "/v3/images/jobs/events"


class Stream:
    """The events of an open stream, with the ids that a browser's EventSource would keep."""

    def __init__(self, answer: httpx2.Response) -> None:
        self._lines = answer.iter_lines()
        self.last_id = ""

    def next(self) -> dict[str, Any]:
        """Return the data of the next event. Raises StopIteration at the end."""
        fields: dict[str, str] = {}
        while (line := next(self._lines)) or not fields:
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
        self.last_id = fields["id"]
        data: dict[str, Any] = json.loads(fields["data"])
        assert data["type"] == fields["event"]
        return data

    def take(self, count: int) -> list[dict[str, Any]]:
        return [self.next() for _ in range(count)]


@contextmanager
def _following(api: Api, path: str = EVENTS, **request: Any) -> Iterator[Stream]:
    with api.http.stream("GET", path, **request) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer)


def _whole(api: Api, path: str = EVENTS, **request: Any) -> list[dict[str, Any]]:
    """Return what the stream has up to now."""
    request["params"] = {"timeout_s": 0, **request.get("params", {})}
    found = []
    with _following(api, path, **request) as stream:
        while True:
            try:
                found.append(stream.next())
            except StopIteration:
                return found


def _seen(events: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(event["job_id"], event["sequence_number"]) for event in events]


@pytest.mark.parametrize("prefix", ["/v1", "/v3"])
def test_the_events_of_all_jobs_come_in_one_stream(api: Api, prefix: str) -> None:
    with _following(api, f"{prefix}/images/jobs/events") as stream:
        assert stream.next() == {"type": "start"}
        ids = [api.submitted()["id"] for _ in range(2)]
        claims, claim = api.claim(ids[0])
        claims.progress(claim, 1, 2, Preview(0, 0, PNG))
        assert claims.complete(claim, [PNG], {})
        api.complete(ids[1])
        events = stream.take(8)
    first = [event for event in events if event["job_id"] == ids[0]]
    assert [event["type"] for event in first] == ["queued", "in_progress", "progress", "preview", "completed"]
    assert (first[0]["queue_position"], first[2]["progress"], first[3]["image_index"]) == (0, 50, 0)
    assert [event["type"] for event in events if event["job_id"] == ids[1]] == ["queued", "in_progress", "completed"]
    # They are those of the jobs' own streams but for what is large: images, and the job at its end.
    own = [event for job_id in ids for event in _own_events(api, job_id)]
    for event in own:
        for large in ("b64_json", "output_format", "job"):
            event.pop(large, None)
    assert sorted(events, key=lambda event: (ids.index(event["job_id"]), event["sequence_number"])) == own


def _own_events(api: Api, job_id: str) -> list[dict[str, Any]]:
    lines = api.http.get(f"{JOBS}/{job_id}/events").text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_a_client_that_connects_again_misses_and_repeats_nothing(api: Api) -> None:
    heard: list[dict[str, Any]] = []
    ids: list[str] = []
    last_id = ""
    for round_number in range(4):
        with _following(api, headers={"Last-Event-ID": last_id}) as stream:
            if round_number == 0:
                assert stream.next() == {"type": "start"}
            heard += stream.take(2 if round_number else 0)  # while it was away, more came than it hears now
            ids.append(api.submitted()["id"])
            last_id = stream.last_id or last_id
        api.complete(ids[-1])
    heard += _whole(api, headers={"Last-Event-ID": last_id})
    assert _seen(heard) == [(job_id, number) for job_id in ids for number in (1, 2, 3)]


def test_a_client_that_was_away_for_too_long_hears_of_the_gap(api: Api) -> None:
    with _following(api, params={"starting_after": "1-0"}) as stream:
        assert stream.next() == {"type": "gap"}
        job_id = api.submitted()["id"]
        assert _seen([stream.next()]) == [(job_id, 1)]
    assert _whole(api, params={"starting_after": stream.last_id}) == []


@pytest.mark.parametrize("wrong", ["x", "7", "1-", "1-0-0", "9" * 20 + "-0"])
def test_a_wrong_position_is_refused_or_begins_anew(api: Api, wrong: str) -> None:
    assert error_of(api.http.get(EVENTS, params={"starting_after": wrong}))["param"] == "starting_after"
    assert _whole(api, headers={"Last-Event-ID": wrong}) == [{"type": "start"}]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return write_keys(tmp_path / "keys", *KEYS)


@pytest.fixture
def keyed(redis_server: RunningRedis, redis_settings: RedisSettings, key_file: Path) -> Iterator[Api]:
    assert redis_server.settings == redis_settings
    http = {"api_key_file": key_file, "heartbeat_s": 0.05}
    with serving(settings_for(redis_settings, http)) as running:
        yield running


def test_an_owner_sees_the_own_jobs_only(keyed: Api) -> None:
    begun = {}
    for name, owner in (("admin", ADMIN), ("one", ONE), ("two", TWO)):
        with _following(keyed, headers=owner) as stream:
            assert stream.next() == {"type": "start"}
        begun[name] = {**owner, "Last-Event-ID": stream.last_id}
    put(keyed, "mine", ONE)
    put(keyed, "mine", TWO, prompt="another")
    answer = keyed.http.post(JOBS, json=BODY, headers=TWO)
    assert _seen(_whole(keyed, headers=begun["one"])) == [("mine", 1)]
    assert _seen(_whole(keyed, headers=begun["two"])) == [("mine", 1), (answer.json()["id"], 1)]
    assert _whole(keyed, headers=begun["admin"]) == []


def test_another_owners_position_shows_nothing_of_that_owner(keyed: Api) -> None:
    with _following(keyed, headers=ONE) as stream:
        stream.next()
        put(keyed, "mine", ONE)
        stream.next()
    assert _whole(keyed, headers={**TWO, "Last-Event-ID": stream.last_id}) == [{"type": "gap"}]


def test_the_stream_of_a_key_that_is_removed_ends(keyed: Api, key_file: Path) -> None:
    with _following(keyed, headers=ONE) as stream:
        assert stream.next() == {"type": "start"}
        write_keys(key_file, KEYS[0])
        with pytest.raises(StopIteration):
            stream.next()
    assert keyed.http.get(EVENTS, headers=ONE).status_code == 401


def test_a_stream_without_events_has_heartbeats(keyed: Api) -> None:
    with keyed.http.stream("GET", EVENTS, headers=ONE) as answer:
        lines = answer.iter_lines()
        wait_until(lambda: next(lines) == ": still here")
        assert next(lines) == ""


def test_a_stream_ends_with_the_process(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings)) as own, _following(own) as stream:
        assert stream.next() == {"type": "start"}
        own.app.state.drain.begin()
        own.app.state.service._waiter.end_waiting()
        with pytest.raises(StopIteration):
            stream.next()

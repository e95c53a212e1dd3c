"""What Redis counts as kept, compared with the records that are there."""

import re
from collections.abc import Iterator
from typing import Any

from config.settings import RedisSettings
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import client
from workers.jobs.status import EXPIRED, Status

_RECORD = re.compile(r"imagegen:job:[^:]+")


def assert_counts_agree(settings: RedisSettings) -> None:
    """Assert that the counts of what is kept, and the owners' lists, are those of the records."""
    with client(settings) as raw:
        records = dict(_records(raw))
        sizes = {job_id: text.split(" ", 2) for job_id, text in raw.hgetall(keys.ended_sizes).items()}
        assert sizes.keys() == {job_id for job_id, record in records.items() if Status(record["status"]).is_final}
        for key in (keys.record_ends, keys.result_ends):
            assert set(raw.zrange(key, 0, -1)) == sizes.keys()
        _compare_bytes(raw, records, sizes)
        for owner in {record["owner"] for record in records.values()}:
            own = {job_id: record for job_id, record in records.items() if record["owner"] == owner}
            assert set(raw.zrange(keys.owner_jobs(owner), 0, -1)) == own.keys()
            assert set(raw.zrange(keys.owner_ended(owner), 0, -1)) == own.keys() & sizes.keys()
            for status in (*Status, EXPIRED):
                listed = {job_id for job_id, record in own.items() if record["status"] == status}
                assert set(raw.zrange(keys.owner_jobs(owner, status), 0, -1)) == listed


def kept_of(settings: RedisSettings, owner: str) -> tuple[int, int]:
    """Return the bytes of an owner's unfinished jobs and of its ended ones."""
    with client(settings) as raw:
        unfinished = raw.hget(keys.kept, f"unfinished:{owner}")
        ended = raw.zscore(keys.kept_ended, owner)
    return int(str(unfinished or 0)), int(ended or 0)


def _records(raw: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for key in raw.scan_iter("imagegen:job:*"):
        if _RECORD.fullmatch(str(key)):
            yield str(key).rpartition(":")[2], raw.hgetall(key)


def _compare_bytes(raw: Any, records: dict[str, dict[str, Any]], sizes: dict[str, list[str]]) -> None:
    unfinished: dict[str, int] = {}
    for job_id, record in records.items():
        if job_id not in sizes:
            for field in ("unfinished", f"unfinished:{record['owner']}"):
                unfinished[field] = unfinished.get(field, 0) + int(record["kept"])
    ended: dict[str, float] = {}
    for record_bytes, result_bytes, owner in sizes.values():
        ended[owner] = ended.get(owner, 0) + int(record_bytes) + int(result_bytes)
    counted = {name: int(value) for name, value in raw.hgetall(keys.kept).items() if not name.startswith("evicted:")}
    assert counted == unfinished | ({"ended": int(sum(ended.values()))} if ended else {})
    assert dict(raw.zrange(keys.kept_ended, 0, -1, withscores=True)) == ended

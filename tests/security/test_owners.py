"""What one owner can do to another: nothing, and learn nothing of it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from itsdangerous import URLSafeTimedSerializer

from config.settings import RedisSettings
from graphs.errors import JobNotFound
from tests.api.api_support import Api, error_of, serving, settings_for
from tests.cli.cli_support import imagegen
from tests.security.owners import ADMIN, BODY, JOBS, KEYS, ONE, TWO, get, is_unknown, put, write_keys
from tests.support.images import image_bytes, red_image
from tests.support.redis_keys import keys
from tests.support.redis_server import RunningRedis
from tests.workers.jobs.jobs_support import a_submission, cancel, client, erase, look, on_store, put_in, waiting
from workers.jobs.job_options import JobOptions
from workers.jobs.status import Status
from workers.jobs.store import Idempotency, JobStore

PNG_ONE, PNG_TWO = image_bytes(red_image(), "PNG"), b"the image of another owner"


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keys(tmp_path_factory.mktemp("keys") / "keys", *KEYS)


@pytest.fixture(scope="module")
def shared_keyed(redis_server: RunningRedis, key_file: Path) -> Iterator[Api]:
    with serving(settings_for(redis_server.settings, {"api_key_file": key_file})) as running:
        yield running


@pytest.fixture
def keyed(shared_keyed: Api, redis_settings: RedisSettings, key_file: Path) -> Api:
    """An API with an administrator and two other owners, and an empty Redis."""
    assert shared_keyed.redis == redis_settings
    write_keys(key_file, *KEYS)
    return shared_keyed


def _next(api: Api) -> str:
    """Return the id of the only waiting job."""
    (found,) = waiting(api.redis)
    return found


def _address(api: Api, owner: dict[str, str]) -> str:
    """Draw an image for an owner and return its signed address."""
    with api.asking(headers=owner, json={**BODY, "response_format": "url"}) as answer:
        api.complete(api.next_job(), PNG_ONE)
        url: str = answer().json()["data"][0]["url"]
    return url


def _named_address(api: Api, name: str, owner: dict[str, str]) -> str:
    """Draw an image under a name and return its address, which a request that joins the job is given."""
    key = {**owner, "Idempotency-Key": name}
    answer = api.http.put(f"{JOBS}/{name}", json={**BODY, "response_format": "url"}, headers=key)
    assert answer.status_code == 202, answer.text
    api.complete(_next(api), PNG_ONE)
    joined = api.http.post("/v3/images/generations", json={**BODY, "response_format": "url"}, headers=key)
    assert joined.headers["x-imagegen-job-id"] == name, joined.text
    url: str = joined.json()["data"][0]["url"]
    return url


def test_two_owners_use_one_id_and_never_learn_of_each_other(keyed: Api) -> None:
    put(keyed, "mine", ONE)
    assert is_unknown(get(keyed, "mine", TWO))
    keyed.complete(_next(keyed), PNG_ONE)
    # The same name, another prompt: neither a conflict nor the other's job.
    other = put(keyed, "mine", TWO, prompt="another")
    assert (other["id"], other["status"], other["prompt"]) == ("mine", "queued", "another")
    keyed.complete(_next(keyed), PNG_TWO)
    for owner, image in ((ONE, PNG_ONE), (TWO, PNG_TWO)):
        assert get(keyed, "mine/content", owner).content == image
        assert [job["id"] for job in keyed.http.get(JOBS, headers=owner).json()["data"]] == ["mine"]
    put(keyed, "mine", ONE, 200)
    assert keyed.http.delete(f"{JOBS}/mine", headers=ONE).json()["id"] == "mine"
    assert is_unknown(get(keyed, "mine", ONE))
    assert get(keyed, "mine/content", TWO).content == PNG_TWO


def test_the_id_of_anothers_job_is_a_free_name(keyed: Api) -> None:
    """It is no oracle, and the name leads to the own job."""
    theirs = keyed.http.post(JOBS, json=BODY, headers=ONE).json()["id"]
    mine = put(keyed, theirs, TWO, prompt="another")
    assert (mine["id"], mine["prompt"]) == (theirs, "another")
    assert get(keyed, theirs, TWO).json()["prompt"] == "another"
    assert keyed.http.delete(f"{JOBS}/{theirs}", headers=TWO).status_code == 200
    assert get(keyed, theirs, ONE).json()["status"] == "queued"


def test_a_name_that_is_the_own_id_of_a_job_is_that_job(keyed: Api) -> None:
    job = keyed.http.post(JOBS, json=BODY, headers=ONE).json()["id"]
    assert put(keyed, job, ONE, 200)["id"] == job
    again = keyed.http.put(f"{JOBS}/{job}", json={"prompt": "another"}, headers=ONE)
    assert error_of(again, 422)["code"] == "idempotency_key_reused"


def test_everything_of_a_named_job_goes_by_its_name(keyed: Api) -> None:
    job = put(keyed, "mine", ONE)
    assert all("/mine" in str(url) for url in job["urls"].values() if url)
    assert get(keyed, "mine", ONE).json()["id"] == "mine"
    cancelled = keyed.http.post(f"{JOBS}/mine/cancel", headers=ONE).json()
    assert (cancelled["id"], cancelled["status"]) == ("mine", "cancelled")
    events = get(keyed, "mine/events", ONE).text
    assert '"job_id":"mine"' in events
    assert "imgjob_" not in events
    page = keyed.http.get(JOBS, params={"after": "mine"}, headers=ONE).json()
    assert page["data"] == []


def test_a_signed_address_ends_with_its_job(keyed: Api) -> None:
    url = _named_address(keyed, "mine", ONE)
    assert keyed.http.get(url).content == PNG_ONE
    assert keyed.http.delete(f"{JOBS}/mine", headers=ONE).status_code == 200
    assert is_unknown(keyed.http.get(url))


@pytest.mark.parametrize("owner", [ONE, TWO], ids=["the same owner", "another owner"])
def test_a_signed_address_serves_no_later_job_with_its_id(keyed: Api, owner: dict[str, str]) -> None:
    url = _named_address(keyed, "mine", ONE)
    keyed.http.delete(f"{JOBS}/mine", headers=ONE)
    put(keyed, "mine", owner, prompt="another")
    keyed.complete(_next(keyed), PNG_TWO)
    assert is_unknown(keyed.http.get(url))


def test_an_address_of_an_older_release_opens_until_its_job_ends(keyed: Api) -> None:
    """Its token names the job and the index only."""
    job = keyed.http.post(JOBS, json=BODY, headers=ONE).json()["id"]
    keyed.complete(job, PNG_ONE)
    signing_key = on_store(keyed.redis, lambda store: store.signing_key())
    token = str(URLSafeTimedSerializer(signing_key, salt="picture").dumps([job, 0]))
    url = f"/v3/images/files/{token}.png"
    assert keyed.http.get(url).content == PNG_ONE
    with client(keyed.redis) as raw:  # a later job under the same id, as older releases allowed
        raw.hincrbyfloat(keys.job(job), "created_at", 3600)
    assert is_unknown(keyed.http.get(url))


def test_a_job_of_an_older_release_is_found_by_the_id_that_its_owner_gave_it(keyed: Api) -> None:
    """There, the id that a client chose is that of the record."""
    put(keyed, "mine", ONE)
    with client(keyed.redis) as raw:
        new_id, owner = _next(keyed), str(raw.hget(keys.job(_next(keyed)), "owner"))
        raw.rename(keys.job(new_id), keys.job("mine"))
        raw.hdel(keys.job("mine"), "name")
        raw.delete(keys.job_name(owner, "mine"))
        for key in (keys.queued("demo"), keys.waiting("demo"), keys.owner_jobs(owner)):
            raw.zadd(key, {"mine": float(raw.zscore(key, new_id) or 0)})
            raw.zrem(key, new_id)
    assert put(keyed, "mine", ONE, 200)["id"] == "mine"
    keyed.complete("mine", PNG_ONE)
    assert put(keyed, "mine", TWO, prompt="another")["prompt"] == "another"
    assert get(keyed, "mine/content", ONE).content == PNG_ONE
    assert keyed.http.delete(f"{JOBS}/mine", headers=TWO).status_code == 200
    assert get(keyed, "mine/content", ONE).content == PNG_ONE
    assert keyed.http.delete(f"{JOBS}/mine", headers=ONE).status_code == 200


def test_an_old_idempotency_key_joins_no_job_of_another_owner(redis_settings: RedisSettings) -> None:
    """Older releases let another owner take the id of a job that was deleted."""
    once = Idempotency("key:mine", "digest", 100, "always")
    job, _ = put_in(redis_settings, a_submission("one", idempotency=once))
    erase(redis_settings, job)
    theirs, _ = put_in(redis_settings, a_submission("two"))
    with client(redis_settings) as raw:
        raw.set(keys.idempotency("one", "key:mine"), f"digest {theirs.id}")
        waiters = raw.hget(keys.job(theirs.id), "waiters")
    mine, is_new = put_in(redis_settings, a_submission("one", idempotency=once))
    assert is_new
    assert mine.options.owner == "one"
    with client(redis_settings) as raw:
        assert raw.hget(keys.job(theirs.id), "waiters") == waiters


def test_an_id_is_never_used_again_so_a_late_delete_erases_nothing_else(redis_settings: RedisSettings) -> None:
    """A DELETE that has looked its job up, and is late: meanwhile the job is gone and another PUT took the name."""
    first, _ = put_in(redis_settings, a_submission("one", name="mine"))
    late = look(redis_settings, first)
    erase(redis_settings, first)
    second, is_new = put_in(redis_settings, a_submission("one", name="mine"))
    other, _ = put_in(redis_settings, a_submission("two", name="mine"))
    assert is_new
    erase(redis_settings, late)
    for job in (second, other):
        assert look(redis_settings, job).status is Status.QUEUED
        found = on_store(redis_settings, lambda store, job=job: store.find("mine", job.options.owner))  # type: ignore[misc]
        assert found.id == job.id


def test_every_script_that_acts_on_an_id_asks_for_the_owner(redis_settings: RedisSettings) -> None:
    job, _ = put_in(redis_settings, a_submission("one", name="mine"))
    forged = replace(job, options=JobOptions(owner="two"))
    before = _everything(redis_settings)
    assert on_store(redis_settings, lambda store: store.add_waiter(forged, 5)) == 0
    cancel(redis_settings, forged)
    erase(redis_settings, forged)
    assert _everything(redis_settings) == before
    assert look(redis_settings, job).status is Status.QUEUED


def _everything(settings: RedisSettings) -> dict[str, Any]:
    with client(settings) as raw:
        return {str(key): raw.type(key) for key in raw.scan_iter()} | {
            str(key): raw.hgetall(key) for key in raw.scan_iter(f"{keys.job('')}*") if raw.type(key) == "hash"
        }


@pytest.mark.parametrize("suffix", [":events", ":image", ":artifact:0"])
@pytest.mark.parametrize("path", ["", "/result", "/content", "/events", "/cancel"])
def test_an_id_leads_to_no_other_key_of_redis(keyed: Api, suffix: str, path: str) -> None:
    job = keyed.http.post(JOBS, json=BODY, headers=ONE).json()["id"]
    method = "POST" if path == "/cancel" else "GET"
    assert is_unknown(keyed.http.request(method, f"{JOBS}/{job}{suffix}{path}", headers=ONE))
    assert is_unknown(keyed.http.delete(f"{JOBS}/{job}{suffix}", headers=ONE))
    assert is_unknown(keyed.http.get(JOBS, params={"after": f"{job}{suffix}"}, headers=ONE))
    assert get(keyed, job, ONE).json()["status"] == "queued"


def test_the_store_looks_up_no_id_of_another_form(redis_settings: RedisSettings) -> None:
    job, _ = put_in(redis_settings, a_submission("one"))
    lookups: list[Callable[[str], Any]] = [
        lambda text: on_store(redis_settings, lambda store: store.get(text, None)),
        lambda text: on_store(redis_settings, lambda store: store.find(text, "one")),
    ]
    for look_up in lookups:
        for text in (f"{job.id}:events", "", "a b", "x" * 65, f"{job.id}\n", "ж"):
            with pytest.raises(JobNotFound, match="There is no job"):
                look_up(text)


def test_a_revoked_key_and_its_addresses_end_without_a_restart(keyed: Api, key_file: Path) -> None:
    one, two = _address(keyed, ONE), _address(keyed, TWO)
    write_keys(key_file, "admin-key", "two-key", "three-key")
    error_of(get(keyed, "x", ONE), 401)
    ended = error_of(keyed.http.get(one), 410)
    assert ended["code"] == "artifact_expired"
    assert ended["message"] == "This address ended with the API key that it was made for."
    assert keyed.http.get(two).content == PNG_ONE
    assert keyed.http.get(JOBS, headers={"api-key": "three-key"}).status_code == 200


def test_a_key_file_that_cannot_be_used_changes_nothing(
    keyed: Api, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert keyed.http.get(JOBS, headers=ONE).status_code == 200
    write_keys(key_file)
    for _ in range(2):
        assert keyed.http.get(JOBS, headers=ONE).status_code == 200
    error_of(keyed.http.get(JOBS), 401)
    assert caplog.text.count("the API keys stay as they are") == 1
    assert "holds no key" in caplog.text


def test_rotated_signing_keys_end_the_addresses_given_out_before(keyed: Api) -> None:
    before = _address(keyed, ONE)
    assert keyed.http.get(before).content == PNG_ONE
    rotated = imagegen("keys", "rotate-signing", "--redis_url", keyed.redis.url or "")
    assert (rotated.returncode, rotated.stderr) == (0, "")
    assert "those given out before have ended" in rotated.stdout
    assert is_unknown(keyed.http.get(before))
    assert keyed.http.get(_address(keyed, ONE)).content == PNG_ONE


def test_a_race_of_deletes_and_puts_leaves_another_owners_job(redis_settings: RedisSettings) -> None:
    """One owner submits and deletes under a name again and again, while another has a job under the same name."""
    theirs, _ = put_in(redis_settings, a_submission("two", name="mine"))

    async def churn(store: JobStore) -> None:
        for _ in range(30):
            with suppress(JobNotFound):  # another of the racers deleted it in between
                job, _ = await store.submit(a_submission("one", name="mine"))
                await store.erase(job)

    async def race(store: JobStore) -> None:
        await asyncio.gather(*(churn(store) for _ in range(4)))

    on_store(redis_settings, race)
    assert look(redis_settings, theirs).status is Status.QUEUED
    assert waiting(redis_settings) == [theirs.id]


def test_administrators_have_no_right_to_the_jobs_of_others(keyed: Api) -> None:
    put(keyed, "mine", ONE)
    for path in ("mine", _next(keyed)):
        assert is_unknown(get(keyed, path, ADMIN))

"""``/metrics``: each event is counted exactly once, and every API process reports it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from config.settings import RedisSettings
from tests.api.api_support import PNG, Api, error_of, serving, settings_for
from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.redis_keys import keys
from tests.support.redis_server import RunningRedis, running_redis
from tests.workers.jobs.jobs_support import GRAPH, SHORT, Upkeep, claims_of, client
from workers.jobs.claims import Claims
from workers.jobs.observe.presence import WorkerPresence

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "metrics.md").read_text()
_ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \| (?P<labels>[\w`, -]*?) \|", re.MULTILINE)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(http: httpx2.Client, **headers: str) -> Samples:
    answer = http.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[(name, frozenset({"graph": GRAPH, **labels}.items()))]


def own(samples: Samples, name: str, **labels: str) -> float:
    """A metric of the process itself, 0 before its first increment."""
    return samples.get((name, frozenset(labels.items())), 0.0)


def test_the_page_names_every_metric_and_no_other(api: Api) -> None:
    api.complete(api.submitted(json={"prompt": "a red circle", "service_tier": "auto"})["id"])
    api.http.get("/v3/images/jobs/nope")
    api.http.post("/v3/images/generations", json={"prompt": "a", "size": "7x7"})
    presence = WorkerPresence(
        "w", GRAPH, "CPU", ready=True, operations=(), seen_at=0.0, last_error="Bad.", last_error_at=1.0
    )
    Upkeep(api.redis).heartbeat(presence)
    reported: dict[str, tuple[str, set[str]]] = {}
    for family in text_string_to_metric_families(api.http.get("/metrics").text):
        name = family.name + ("_total" if family.type == "counter" else "")
        assert family.documentation, name
        reported[name] = (family.type, {label for sample in family.samples for label in sample.labels} - {"le"})
    written = {row["name"]: (row["kind"], set(re.findall(r"`(\w+)`", row["labels"]))) for row in _ROW.finditer(PAGE)}
    assert reported == written


def test_a_jobs_life_is_counted(api: Api) -> None:
    job_id = api.submitted()["id"]
    waiting = scraped(api.http)
    assert value(waiting, "imagegen_jobs_queued") == value(waiting, "imagegen_jobs_submitted_total") == 1
    assert value(waiting, "imagegen_jobs_completed_total") == 0
    claims, claim = api.claim(job_id)
    running = scraped(api.http)
    assert (value(running, "imagegen_jobs_queued"), value(running, "imagegen_jobs_running")) == (0, 1)
    assert value(running, "imagegen_job_attempts_total") == 1
    assert value(running, "imagegen_queue_wait_seconds_count") == 1
    assert claims.complete(claim, [PNG, PNG], {"encode": 0.5})
    done = scraped(api.http)
    assert value(done, "imagegen_jobs_running") == 0
    assert value(done, "imagegen_jobs_completed_total") == value(done, "imagegen_job_seconds_count") == 1
    assert value(done, "imagegen_images_total") == 2
    assert value(done, "imagegen_pixels_total") == 2 * claim.job.request.width * claim.job.request.height


def test_every_accepted_job_is_counted_in_one_figure(api: Api, settled_redis: RedisSettings) -> None:
    """Submitted = waiting + running + completed + failed + cancelled, however they ended."""
    api.complete(api.submitted()["id"])
    api.fail(api.submitted()["id"])
    api.fail(api.submitted()["id"], code="timeout")
    api.http.post(f"/v3/images/jobs/{api.submitted()['id']}/cancel")
    api.http.delete(f"/v3/images/jobs/{api.submitted()['id']}")
    crashing = api.submitted()["id"]
    upkeep = Upkeep(settled_redis)
    for _ in range(SHORT.max_attempts):
        assert claims_of(settled_redis).claim_next(GRAPH)
        upkeep.end_lease(crashing)
        upkeep.count_crash()
        upkeep.reap()
    api.submitted()
    assert Claims(settled_redis, api.settings.jobs, "hand").claim_next(GRAPH)
    api.submitted()

    samples = scraped(api.http)
    assert value(samples, "imagegen_jobs_submitted_total") == 8
    ends = {
        (name.removeprefix("imagegen_jobs_").removesuffix("_total"), *(v for k, v in labels if k != "graph")): count
        for (name, labels), count in samples.items()
        if name.startswith(("imagegen_jobs_completed", "imagegen_jobs_failed", "imagegen_jobs_cancelled")) and count
    }
    assert ends == {
        ("completed",): 1,
        ("failed", "generation_failed"): 1,
        ("failed", "timeout"): 1,
        ("failed", "worker_crashed"): 1,
        ("cancelled", "requested"): 1,
        ("cancelled", "erased"): 1,
    }
    assert value(samples, "imagegen_jobs_running") == value(samples, "imagegen_jobs_queued") == 1
    assert value(samples, "imagegen_worker_crashes_total") == SHORT.max_attempts
    assert value(samples, "imagegen_jobs_reaped_total") == SHORT.max_attempts - 1
    # Only the first attempt ends the wait.
    assert value(samples, "imagegen_queue_wait_seconds_count") == 5
    with client(settled_redis) as behind:
        assert behind.zcard(keys.waiting(GRAPH)) == 1


def test_how_full_the_queue_is(api: Api) -> None:
    api.submitted()
    samples = scraped(api.http)
    found = [value(samples, f"imagegen_jobs_queued{name}") for name in ("", "_limit", "_bytes_limit")]
    assert found == [1, api.settings.jobs.max_queued, api.settings.jobs.max_queued_bytes]
    assert 100 < value(samples, "imagegen_jobs_queued_bytes") < 10_000


def test_the_oldest_wait_is_that_of_the_job_submitted_first(api: Api) -> None:
    """The next job may have waited for less: a starving job of low priority must be visible."""
    first = api.submitted(json={"prompt": "x", "priority": "low"})["id"]
    api.submitted(json={"prompt": "y", "priority": "high"})
    with client(api.redis) as behind:
        behind.zincrby(keys.waiting(GRAPH), -100, first)
    assert 100 <= value(scraped(api.http), "imagegen_queue_oldest_wait_seconds") < 200
    api.http.post(f"/v3/images/jobs/{first}/cancel")
    assert value(scraped(api.http), "imagegen_queue_oldest_wait_seconds") < 100


def test_a_scrape_costs_the_same_however_long_the_queue_is(api: Api) -> None:
    def commands_of_a_scrape() -> dict[str, int]:
        # What the API reads each second, of workers and models, may fall into one scrape, and not into all of several.
        several = [commands_of_one() for _ in range(3)]
        return {name: min(calls[name] for calls in several) for name in several[0]}

    def commands_of_one() -> dict[str, int]:
        names = ("zcard", "zrange", "hgetall", "info", "hget", "hmget")
        with client(api.redis) as behind:
            behind.config_resetstat()
            scraped(api.http)
            calls = {name: behind.info("commandstats").get(f"cmdstat_{name}", {}).get("calls", 0) for name in names}
        return calls | {"info": 0}  # reading the counts is itself an info command

    api.submitted()
    short = commands_of_a_scrape()
    for _ in range(30):
        api.submitted()
    assert commands_of_a_scrape() == short


def test_workers_by_graph_and_device(api: Api) -> None:
    assert value(scraped(api.http), "imagegen_workers_ready", device="CPU") == 0
    for name, device, ready in (("a", "GPU.0", True), ("b", "GPU.0", False), ("c", "CPU", True)):
        presence = WorkerPresence(name, GRAPH, device, ready=ready, operations=(), seen_at=0.0)
        Upkeep(api.redis).heartbeat(presence)
    samples = scraped(api.http)
    assert value(samples, "imagegen_workers_live", device="GPU.0") == 2
    assert value(samples, "imagegen_workers_ready", device="GPU.0") == 1
    assert value(samples, "imagegen_workers_ready", device="CPU") == 1


def test_stages_and_last_errors_of_workers(api: Api) -> None:
    presence = WorkerPresence(
        "a",
        GRAPH,
        "GPU.0",
        ready=True,
        operations=(),
        seen_at=0.0,
        stage="checking",
        last_error="Bad.",
        last_error_at=9.5,
    )
    Upkeep(api.redis).heartbeat(presence)
    samples = scraped(api.http)
    assert value(samples, "imagegen_workers_in_stage", device="GPU.0", stage="checking") == 1
    assert value(samples, "imagegen_workers_in_stage", device="GPU.0", stage="resting") == 0
    assert value(samples, "imagegen_worker_last_error_timestamp_seconds", device="GPU.0", error="Bad.") == 9.5
    assert value(samples, "imagegen_device_faults_total", trouble="not_finite") == 0
    assert value(samples, "imagegen_worker_replacements_total", reason="device") == 0


def test_requests_are_counted_by_route_and_not_by_address(api: Api) -> None:
    before = scraped(api.http)
    for path in ("/v3/images/jobs/first", "/v3/images/jobs/two", "/v1/images/jobs/two", "/no/such/route", "/nor/this"):
        assert api.http.get(path).status_code == 404
    api.http.request("PROPFIND", "/v3/models")
    after = scraped(api.http)

    def more(name: str, **labels: str) -> float:
        return own(after, name, **labels) - own(before, name, **labels)

    job = "/v3/images/jobs/{job_id}"
    assert more("imagegen_http_requests_total", method="GET", route=job, status="404") == 2
    assert more("imagegen_http_request_seconds_count", method="GET", route=job) == 2
    assert more("imagegen_http_requests_total", method="GET", route="none", status="404") == 2
    assert more("imagegen_http_errors_total", code="job_not_found") == 3
    assert not any("first" in labels or "/no/" in labels for _, pairs in after for _, labels in pairs)
    assert more("imagegen_http_requests_total", method="other", route="/v3/models", status="405") == 1
    assert not any("PROPFIND" in labels for _, pairs in after for _, labels in pairs)


def test_a_refused_request_is_counted_by_its_reason(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings, max_queued=1)) as api:
        api.submitted()
        error_of(api.http.post("/v3/images/generations", json={"prompt": "x"}), 429)
        samples = scraped(api.http)
    assert own(samples, "imagegen_http_errors_total", code="queue_full") == 1
    assert value(samples, "imagegen_jobs_submitted_total") == 1


@pytest.mark.usefixtures("redis_processes")
def test_without_redis_it_reports_that_and_its_own_figures(tmp_path: Path) -> None:
    with running_redis(tmp_path) as redis, serving(settings_for(redis.settings)) as api:
        assert own(scraped(api.http), "imagegen_redis_up") == 1
        redis.kill()
        error_of(api.http.get("/v2/health/ready"), 503)
        samples = scraped(api.http)
        assert samples[("imagegen_redis_up", frozenset())] == 0
        assert own(samples, "imagegen_http_errors_total", code="service_unavailable") == 1
        assert not any(name.startswith("imagegen_jobs") for name, _ in samples)


def test_with_api_keys_it_needs_one(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings, {"api_key": "secret-1"})) as api:
        assert error_of(api.http.get("/metrics"), 401)["code"] == "invalid_api_key"
        assert scraped(api.http, Authorization="Bearer secret-1")


def test_figures_outlive_the_process_that_counted(redis_settings: RedisSettings) -> None:
    for number in (1, 2):
        with serving(settings_for(redis_settings)) as api:
            api.complete(api.submitted()["id"])
            assert value(scraped(api.http), "imagegen_jobs_completed_total") == number


@contextmanager
def api_process(redis: RedisSettings, shared: Path) -> Iterator[httpx2.Client]:
    port = free_port()
    environment = {**os.environ, "IMAGEGEN_HTTP__METRICS_FOLDER": str(shared), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "cli", "api", "--rest_port", str(port), "--redis_url", str(redis.url)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:

            def answers() -> bool:
                try:
                    return http.get("/v2/health/live").status_code == 200
                except httpx2.TransportError:
                    return False

            wait_until(answers, deadline_s=60)
            yield http
    finally:
        process.terminate()
        process.wait(30)


def test_api_processes_with_a_shared_folder_report_their_sum(
    redis_server: RunningRedis, redis_settings: RedisSettings, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        both = [stack.enter_context(api_process(redis_settings, tmp_path)) for _ in range(2)]
        for http in both:
            http.get("/v3/models")
        labels = {"method": "GET", "route": "/v3/models", "status": "200"}
        for http in both:
            samples = scraped(http)
            assert own(samples, "imagegen_http_requests_total", **labels) == 2
            assert own(samples, "imagegen_redis_up") == 1


@pytest.fixture
def settled_redis(redis_server: RunningRedis, redis_settings: RedisSettings) -> RedisSettings:
    """The emptied server, once it has been up for long enough that leases are reaped."""

    def is_settled() -> bool:
        with redis_server.client() as behind:
            return int(behind.info("server")["uptime_in_seconds"]) > SHORT.lease_s + 2

    wait_until(is_settled)
    return redis_settings

"""Two services with the same model name on one Redis, apart by their prefixes only."""

import base64
from contextlib import ExitStack
from pathlib import Path

import httpx2

from config.settings import RedisSettings
from tests.stack.worker_support import a_worker, an_api
from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.redis_server import running_redis

_BODY = {"prompt": "a red circle", "size": "64x64", "seed": 1, "num_inference_steps": 2}


def _client(stack: ExitStack, settings: RedisSettings, folder: Path) -> httpx2.Client:
    port = free_port()
    stack.enter_context(an_api(settings, folder, port))
    return stack.enter_context(httpx2.Client(base_url=f"http://127.0.0.1:{port}/v3", timeout=60))


def _submit(api: httpx2.Client) -> str:
    answer = api.post("/images/jobs", json=_BODY)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _status(api: httpx2.Client, job_id: str) -> str:
    return str(api.get(f"/images/jobs/{job_id}").json().get("status"))


def _listed(api: httpx2.Client) -> set[str]:
    return {job["id"] for job in api.get("/images/jobs").json()["data"]}


def test_each_of_two_services_gets_only_its_own_jobs(redis_processes: None, tmp_path: Path) -> None:
    """The prefix of one begins with that of the other. Both are given equal requests, which one service would join."""
    # A Redis of its own: every key in it is looked at, and a service of an earlier test may still write into theirs.
    with ExitStack() as stack, running_redis(tmp_path / "redis") as server, server.client() as behind:
        one, two = (server.settings.model_copy(update={"prefix": prefix}) for prefix in ("team", "team_b"))
        first, second = _client(stack, one, tmp_path), _client(stack, two, tmp_path)
        left = stack.enter_context(a_worker(one, tmp_path))
        waiting = [_submit(second) for _ in range(3)]
        drawn = [_submit(first) for _ in range(3)]
        wait_until(lambda: all(_status(first, job_id) == "completed" for job_id in drawn), deadline_s=60)
        assert [_status(second, job_id) for job_id in waiting] == ["queued"] * 3
        assert second.get("http://" + second.base_url.netloc.decode() + "/v2/health/ready").status_code == 503
        assert (_listed(first), _listed(second)) == (set(drawn), set(waiting))
        assert first.get(f"/images/jobs/{waiting[0]}").status_code == 404
        assert second.get(f"/images/jobs/{drawn[0]}/result").status_code == 404

        left.send()
        assert left.code() == 0
        stack.enter_context(a_worker(two, tmp_path))
        late = _submit(first)
        wait_until(lambda: all(_status(second, job_id) == "completed" for job_id in waiting), deadline_s=60)
        assert _status(first, late) == "queued"
        image = second.get(f"/images/jobs/{waiting[0]}/result").json()["data"][0]["b64_json"]
        assert base64.b64decode(image).startswith(b"\x89PNG")

        found = {key.decode() for key in behind.scan_iter(count=1000)}
        stray = {key for key in found if not key.startswith(("team:", "team.", "team_b:", "team_b."))}
        assert stray == set()
        assert {f"{prefix}._kombu.binding.demo" for prefix in ("team", "team_b")} <= found
        assert (behind.pubsub_channels(), behind.pubsub_numpat()) == ([], 0)

"""Two servers with different models under one name on one Redis, with the same prefix."""

from contextlib import ExitStack
from pathlib import Path

import httpx2
import redis

from cli.checks.finding import Verdict
from cli.commands.doctor import examine
from config.settings import RedisSettings, RepositorySettings, Settings
from tests.stack.worker_support import a_worker, an_api
from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.redis_keys import keys
from tests.support.service import write_graph

_BODY = {"prompt": "a red circle", "size": "64x64", "seed": 1}
_GRACE_S = 3


def _model(folder: Path, steps: int) -> dict[str, str]:
    return {
        "IMAGEGEN_REPOSITORY__MODEL_PATH": str(write_graph(folder, steps=steps)),
        "IMAGEGEN_REPOSITORY__MODEL_NAME": "demo",
        "IMAGEGEN_JOBS__DIGEST_GRACE_S": str(_GRACE_S),
    }


def _client(stack: ExitStack, settings: RedisSettings, folder: Path, model: dict[str, str]) -> httpx2.Client:
    port = free_port()
    stack.enter_context(an_api(settings, folder, port, pass_fds=(), **model))
    return stack.enter_context(httpx2.Client(base_url=f"http://127.0.0.1:{port}/v3", timeout=60))


def _submitted(api: httpx2.Client) -> str:
    answer = api.post("/images/jobs", json=_BODY, headers={"Idempotency-Key": "the same"})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _job(api: httpx2.Client, job_id: str) -> dict[str, object]:
    found: dict[str, object] = api.get(f"/images/jobs/{job_id}").json()
    return found


def test_equal_requests_are_drawn_by_the_model_of_the_server_that_was_asked(
    redis_settings: RedisSettings, tmp_path: Path
) -> None:
    models = _model(tmp_path / "three", 3), _model(tmp_path / "seven", 7)
    with ExitStack() as stack, redis.Redis.from_url(redis_settings.url or "") as behind:
        three, seven = (_client(stack, redis_settings, tmp_path, model) for model in models)
        workers = [stack.enter_context(a_worker(redis_settings, tmp_path, environment=model)) for model in models]
        jobs = [_submitted(api) for api in (three, seven, three, seven)]
        assert (jobs[0], jobs[1]) == (jobs[2], jobs[3]), "an equal request to the same server joins its job"
        for api, job_id, worker, steps in zip((three, seven), jobs[:2], workers, (3, 7), strict=True):
            wait_until(lambda api=api, job_id=job_id: _job(api, job_id)["status"] == "completed")  # type: ignore[misc]
            drawn_by, total_steps = behind.hmget(keys.job(job_id), "worker", "total_steps")
            assert (drawn_by.split(b"/")[1], total_steps) == (str(worker.pid).encode(), str(steps).encode())

        for api in (three, seven):  # an API reads the workers once a second
            wait_until(lambda api=api: "other_digests" in api.get("/models/demo").json())  # type: ignore[misc]
        own, other = (api.get("/models/demo").json() for api in (three, seven))
        assert own["other_digests"] == [other["digest"]] and other["other_digests"] == [own["digest"]]
        of_three = RepositorySettings(model_path=tmp_path / "three", model_name="demo")
        found = examine(Settings(redis=redis_settings, repository=of_three))
        said = "".join(finding.message for finding in found if finding.verdict is Verdict.WRONG)
        assert "demo: its processes have different models under this name." in said
        assert own["digest"] in said and other["digest"] in said

        workers[1].send()
        assert workers[1].code() == 0
        left = seven.post("/images/generations", json={**_BODY, "seed": 2})
        assert left.status_code == 500
        assert left.json()["error"]["code"] == "model_changed"
        assert "Send the request again." in left.json()["error"]["message"]
        assert three.post("/images/generations", json={**_BODY, "seed": 2}).status_code == 200

"""A service whose Redis gives it the user of docs/add-workers.md: everything works, and nothing is refused."""

from pathlib import Path

from openai import OpenAI

from cli.checks.finding import Verdict
from cli.commands.doctor import examine
from config.settings import Settings
from tests.support.limited_user import limited, make_user
from tests.support.polling import wait_until
from tests.support.redis_server import RunningRedis, running_redis
from tests.support.service import Service, serving
from tests.workers.webhooks.webhook_support import SECRET, receiving

_PROMPT = "a red circle"
# The docs say so.
_OPTIONAL = ("client|setinfo", "config|get")


def test_the_user_of_the_docs_is_enough(tmp_path: Path) -> None:
    """Blocking, streamed and asynchronous jobs, a cancelled one, a webhook, lost connections, metrics, doctor."""
    with running_redis(tmp_path / "redis") as redis, receiving() as receiver:
        make_user(redis)
        settings = Settings(redis=limited(redis), data_dir=tmp_path)
        environment = {
            "REDIS_URL": settings.redis.url or "",
            "IMAGEGEN_WORKER__ENGINE": "simulated",
            "IMAGEGEN_WORKER__SIMULATED_STEP_S": "0.05",
            "IMAGEGEN_HTTP__REQUESTS_PER_MINUTE": "1000",
            "IMAGEGEN_WEBHOOKS__SECRET": SECRET,
            "IMAGEGEN_WEBHOOKS__ALLOW_PRIVATE": "true",
        }
        with serving(tmp_path / "service", environment=environment) as service:
            _draw(service.client())
            _submit(service, webhook={"url": receiver.url, "events": ["completed"]})
            wait_until(lambda: receiver.received, "the webhook is delivered")
            _cancel(service)
            _lose_connections(service, redis)
            assert "imagegen_redis_up 1.0" in service.http.get("/metrics").text
            assert len(service.http.get("/v3/images/jobs").json()["data"]) == 5
            found = [one for one in examine(settings) if one.area in ("redis", "workers", "queues")]
            assert {one.area for one in found} >= {"redis", "workers"}
            assert [one for one in found if one.verdict is not Verdict.OK] == []
        with redis.client() as behind:
            assert [entry for entry in behind.acl_log() if entry["object"] not in _OPTIONAL] == []


def _draw(client: OpenAI) -> None:
    answer = client.images.generate(prompt=_PROMPT, size="256x256")
    assert answer.data and answer.data[0].b64_json
    events = client.images.generate(prompt=_PROMPT, size="256x256", stream=True, partial_images=1)
    assert [event.type for event in events][-1] == "image_generation.completed"


def _submit(service: Service, **more: object) -> dict[str, str]:
    answer = service.http.post("/v3/images/jobs", json={"prompt": _PROMPT, "size": "256x256", **more})
    assert answer.status_code == 202, answer.text
    urls: dict[str, str] = answer.json()["urls"]
    return urls


def _cancel(service: Service) -> None:
    urls = _submit(service)
    service.http.post(urls["cancel"])
    wait_until(lambda: service.http.get(urls["self"]).json()["status"] == "cancelled", "the job is cancelled")


def _lose_connections(service: Service, redis: RunningRedis) -> None:
    """Kombu puts the message of a running job back when its connection is lost."""
    urls = _submit(service)
    wait_until(lambda: service.http.get(urls["self"]).json()["status"] == "in_progress", "the job runs")
    with redis.client() as behind:
        behind.client_kill_filter(_type="normal", skipme=True)
    assert service.http.get(urls["events"]).text.count("event: completed\n") == 1
    wait_until(service.is_ready, "the worker is back")

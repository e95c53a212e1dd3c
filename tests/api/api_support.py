"""Runs the real API over real HTTP on a real Redis; the tests act as its worker."""

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.server import server_config
from config.http_settings import HttpSettings
from config.settings import JobSettings, RedisSettings, Settings
from tests.support.images import image_bytes, red_image
from tests.support.polling import wait_until
from tests.workers.jobs.jobs_support import GRAPH, waiting
from workers.jobs.claims import Claim, Claims
from workers.jobs.job import JobError

AT_ONCE = {"Prefer": "respond-async"}


PNG = image_bytes(red_image())
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


@dataclass(frozen=True)
class Api:
    """A running API, a client of it, and what a worker does on its Redis."""

    settings: Settings
    app: FastAPI
    http: httpx2.Client

    @property
    def redis(self) -> RedisSettings:
        return self.settings.redis

    def submitted(self, path: str = "/v3/images/generations", **request: Any) -> dict[str, Any]:
        """Submit without waiting and return the job object."""
        answer = self.http.post(path, headers=AT_ONCE, **(request or {"json": {"prompt": "a red circle"}}))
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def claim(self, job_id: str) -> tuple[Claims, Claim]:
        """Claim a job, which is first in the queue, as a worker does."""
        claims = Claims(self.redis, self.settings.jobs, "hand")
        claim = claims.claim_next(GRAPH)
        assert claim is not None
        assert claim.job.id == job_id
        return claims, claim

    def complete(self, job_id: str, *images: bytes) -> None:
        claims, claim = self.claim(job_id)
        assert claims.complete(claim, images or [PNG], {"generate": 0.25})

    def fail(self, job_id: str, code: str = "generation_failed", message: str = "It went wrong.") -> None:
        claims, claim = self.claim(job_id)
        assert claims.fail(claim, JobError(code, message))

    def job(self, job_id: str) -> dict[str, Any]:
        """Return the job object as it is now."""
        found: dict[str, Any] = self.http.get(f"/v3/images/jobs/{job_id}").json()
        return found

    def next_job(self) -> str:
        """Return the id of the first queued job, once there is one."""
        wait_until(lambda: waiting(self.redis, GRAPH))
        return waiting(self.redis, GRAPH)[0]

    @contextmanager
    def asking(self, **request: Any) -> Iterator[Callable[[], httpx2.Response]]:
        """Send a request in the background; the function that is yielded waits for its answer."""
        answers: list[httpx2.Response] = []
        asked = {"url": "/v3/images/generations", "json": {"prompt": "a red circle"}, **request}
        thread = threading.Thread(target=lambda: answers.append(self.http.post(**asked)))
        thread.start()

        def answer() -> httpx2.Response:
            thread.join(20)
            return answers[0]

        yield answer
        thread.join(20)


def settings_for(redis: RedisSettings, http: dict[str, Any] | None = None, **jobs: Any) -> Settings:
    return Settings(redis=redis, http=HttpSettings(**(http or {})), jobs=JobSettings(**jobs))


@contextmanager
def serving(settings: Settings, extend: Callable[[FastAPI], object] = lambda _: None) -> Iterator[Api]:
    """Run the API in a thread; ``extend`` may add to the application before it starts."""
    app = create_app(settings)
    extend(app)
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = server_config(app, settings)
        config.timeout_graceful_shutdown = 1
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            with httpx2.Client(base_url=address, timeout=20) as http:
                yield Api(settings, app, http)
        finally:
            server.should_exit = True
            thread.join(20)


def error_of(answer: httpx2.Response, status: int = 400) -> dict[str, Any]:
    """Return the error object of an answer, after a check of its form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    body = answer.json()
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["message"]
    assert error["type"] == {429: "rate_limit_error"}.get(
        status, "server_error" if status >= 500 else "invalid_request_error"
    )
    return error

"""A new version is deployed under load: API processes and workers are replaced one by one, and no request fails.

The clients are OpenAI's own, with the two retries that they have by default.
"""

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import openai
import pytest
import redis

from cli.local.api_address import listen
from config.http_settings import HttpSettings
from config.settings import RedisSettings
from tests.stack.worker_support import a_worker, an_api
from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.redis_keys import keys

CLIENTS = 6


class Load:
    """Clients that ask for one image after the other, each for another prompt; the server chooses the seeds."""

    def __init__(self, port: int) -> None:
        self._url, self._stopping, self._lock = f"http://127.0.0.1:{port}/v3", threading.Event(), threading.Lock()
        self._asked = 0
        self.images: dict[str, bytes] = {}
        self.failures: list[openai.OpenAIError] = []

    def ask(self) -> None:
        """One client, until it is stopped."""
        with openai.OpenAI(base_url=self._url, api_key="unused", max_retries=2, timeout=60) as made:
            while not self._stopping.is_set():
                prompt = self._next_prompt()
                try:
                    answer = made.images.generate(prompt=prompt, size="128x128", extra_body={"num_inference_steps": 4})
                except openai.OpenAIError as error:
                    self.failures.append(error)
                    continue
                assert answer.data and answer.data[0].b64_json
                self.images[prompt] = base64.b64decode(answer.data[0].b64_json)

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            asking = [pool.submit(self.ask) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                self._stopping.set()
            for done in asking:
                done.result(60)

    def goes_on(self, images: int = 2 * CLIENTS) -> None:
        """Wait until so many more images are there."""
        wanted = len(self.images) + images
        wait_until(lambda: len(self.images) >= wanted or self.failures, deadline_s=60)

    def check(self, settings: RedisSettings) -> None:
        """No request failed, each made one job, and each client got that job's image."""
        assert not self.failures
        jobs: Counter[str] = Counter()
        with redis.Redis.from_url(settings.url or "") as behind:
            for key in behind.scan_iter(keys.job("imgjob_*"), count=1000, _type="hash"):
                job_id = key.decode().removeprefix(keys.job(""))
                status, request = behind.hmget(key, "status", "request")
                prompt = json.loads(request)["prompt"]
                jobs[prompt] += 1
                assert (status, behind.get(keys.artifact(job_id, 0))) == (b"completed", self.images[prompt])
        assert jobs == Counter(self.images.keys())

    def _next_prompt(self) -> str:
        with self._lock:
            self._asked += 1
            return f"circle {self._asked}"


def test_everything_is_replaced_and_no_request_fails(redis_settings: RedisSettings, tmp_path: Path) -> None:
    """The new API starts on the port of the old one before that is stopped; a new worker before an old one."""
    port = free_port()
    load = Load(port)
    with ExitStack() as stack:
        old_api = stack.enter_context(an_api(redis_settings, tmp_path, port, "--reuse_port"))
        old_worker = stack.enter_context(a_worker(redis_settings, tmp_path))
        with load.running():
            load.goes_on()
            stack.enter_context(an_api(redis_settings, tmp_path, port, "--reuse_port"))
            load.goes_on()
            old_api.send()
            assert old_api.code() == 0
            load.goes_on()
            stack.enter_context(a_worker(redis_settings, tmp_path))
            old_worker.send()
            assert old_worker.code() == 0
            load.goes_on()
        load.check(redis_settings)


@pytest.mark.thorough
def test_an_api_on_a_socket_that_stays_is_replaced_and_no_request_fails(
    redis_settings: RedisSettings, tmp_path: Path
) -> None:
    """As systemd does it: there is no API for a while, and connections of that time wait in the socket's queue."""
    port = free_port()
    load = Load(port)
    (listening,) = listen(HttpSettings(rest_port=port))
    with closing(listening) as socket, ExitStack() as stack:
        on_socket = ("--fd", str(socket.fileno()))
        stack.enter_context(a_worker(redis_settings, tmp_path))
        old = stack.enter_context(an_api(redis_settings, tmp_path, port, *on_socket, pass_fds=(socket.fileno(),)))
        with load.running():
            load.goes_on()
            old.send()
            assert old.code() == 0
            stack.enter_context(an_api(redis_settings, tmp_path, port, *on_socket, pass_fds=(socket.fileno(),)))
            load.goes_on()
        load.check(redis_settings)

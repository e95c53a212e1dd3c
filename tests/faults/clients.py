"""The load: the real OpenAI client with its own retries, asking in every way there is, and what it met."""

import asyncio
import base64
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import openai

from tests.faults.images import input_png, mask_png
from tests.faults.plan import Ask, AskKind, Plan

_MAX_RETRIES = 2  # the SDK's own number
_TIMEOUT_S = 60.0
_POLL_S = 0.3
# An accepted job is looked up for this long, regardless of the answers.
_JOB_WITHIN_S = 150.0


@dataclass(frozen=True)
class Answer:
    """How an ask ended for its client. ``outcome``: images, cancelled, left, failed (poisonous, at fault) or error."""

    ask: Ask
    began: float
    ended: float
    outcome: str
    images: tuple[bytes, ...] = ()
    error: str = ""
    may_pass: bool = True  # an error that a client must expect of a service whose parts die


@dataclass
class Seen:
    """What the clients met. ``accepted``: every job that was answered with 202 or with images, and its ask."""

    answers: list[Answer] = field(default_factory=list)
    accepted: dict[str, Ask] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    server_errors: list[str] = field(default_factory=list)
    # How long each 503 took to come.
    refusals_s: list[float] = field(default_factory=list)


class Clients:
    """So many clients, each asking again as soon as it has its answer."""

    def __init__(self, plan: Plan, url: str) -> None:
        self.plan, self.seen = plan, Seen()
        self._numbers = itertools.count()
        self._stopping = False
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [self._sends], "response": [self._saw]}
        self._sdk = openai.AsyncOpenAI(
            base_url=f"{url}/v3",
            api_key="unused",
            max_retries=_MAX_RETRIES,
            timeout=_TIMEOUT_S,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks=hooks),
        )

    async def run(self, clients: int) -> None:
        """Ask until ``stop``, then wait for the answers that are on their way."""
        await asyncio.gather(*(self._keep_asking() for _ in range(clients)))

    def stop(self) -> None:
        self._stopping = True

    async def close(self) -> None:
        await self._sdk.close()

    async def ask(self, ask: Ask) -> Answer:
        """Ask once, and keep what came of it."""
        began = time.time()
        try:
            outcome, images = await self._ask(ask)
            answer = Answer(ask, began, time.time(), outcome, tuple(images))
        except Exception as error:  # noqa: BLE001 - every error of a client is judged at the end
            answer = Answer(ask, began, time.time(), "error", error=_error_text(error), may_pass=_may_pass(error))
        self.seen.answers.append(answer)
        return answer

    async def _keep_asking(self) -> None:
        while not self._stopping:
            number = next(self._numbers)
            if self.plan.asks is not None and number >= self.plan.asks:
                return
            await self.ask(self.plan.ask(number))

    async def _ask(self, ask: Ask) -> tuple[str, list[bytes]]:
        if ask.kind is AskKind.LEAVE:
            try:
                return "images", await asyncio.wait_for(self._wait(ask), 0.1 + ask.after_s / 3)
            except TimeoutError:
                return "left", []
        if ask.kind is AskKind.STREAM:
            return "images", await self._stream(ask)
        if ask.kind in (AskKind.JOB, AskKind.PUT, AskKind.CANCEL, AskKind.POISON, AskKind.AT_FAULT):
            return await self._job(ask)
        return "images", await (self._edit(ask) if ask.is_edit else self._wait(ask))

    async def _wait(self, ask: Ask) -> list[bytes]:
        headers = {"Idempotency-Key": ask.key} if ask.kind is AskKind.KEYED else {}
        body = ask.body()
        raw = await self._sdk.images.with_raw_response.generate(
            prompt=ask.prompt, extra_body=body, extra_headers=headers
        )
        self.seen.accepted[raw.headers["x-imagegen-job-id"]] = ask
        return _images(raw.parse())

    async def _edit(self, ask: Ask) -> list[bytes]:
        fields = {name: str(value) for name, value in ask.body().items() if name not in ("prompt", "n")}
        image, mask = ("image.png", input_png(ask)), ("mask.png", mask_png())
        more: dict[str, Any] = {"mask": mask} if ask.kind is AskKind.INPAINT else {}
        raw = await self._sdk.images.with_raw_response.edit(image=image, prompt=ask.prompt, extra_body=fields, **more)
        self.seen.accepted[raw.headers["x-imagegen-job-id"]] = ask
        return _images(raw.parse())

    async def _stream(self, ask: Ask) -> list[bytes]:
        """A stream that breaks is asked for again by its key; the SDK repeats only what has not begun."""
        for attempt in itertools.count():
            try:
                return await self._streamed(ask)
            except openai.APIError as error:
                if attempt == _MAX_RETRIES or not _may_pass(error):
                    raise
            await asyncio.sleep(0.5 * 2**attempt)
        raise AssertionError("never reached")

    async def _streamed(self, ask: Ask) -> list[bytes]:
        images = []
        stream = await self._sdk.images.generate(
            prompt=ask.prompt,
            stream=True,
            partial_images=2,
            extra_body=ask.body(),
            extra_headers={"Idempotency-Key": ask.key},
        )
        try:
            async for event in stream:
                if event.type == "image_generation.completed":
                    images.append(base64.b64decode(event.b64_json))
        except openai.APIError:
            raise
        except Exception as error:  # the SDK passes on what its transport raises in the middle of a stream
            raise openai.APIConnectionError(message=repr(error), request=stream.response.request) from error
        if len(images) != ask.images:  # it broke so that it looked like an end
            raise openai.APIConnectionError(message="the stream ended early", request=stream.response.request)
        return images

    async def _job(self, ask: Ask) -> tuple[str, list[bytes]]:
        if ask.kind is AskKind.PUT:
            job: Any = await self._sdk.put(f"/images/jobs/faults-{ask.key}", cast_to=object, body=ask.body())
        else:
            options: Any = {"headers": {"Idempotency-Key": ask.key}}
            job = await self._sdk.post("/images/jobs", cast_to=object, body=ask.body(), options=options)
        self.seen.accepted[job["id"]] = ask
        path = f"/images/jobs/{job['id']}"
        if ask.kind is AskKind.CANCEL:
            await asyncio.sleep(ask.after_s)
            await self._insist("post", f"{path}/cancel")
        while job["completed_at"] is None:
            await asyncio.sleep(_POLL_S)
            job = await self._insist("get", path)
        if job["status"] != "completed":
            return str(job["status"]), []
        result = await self._insist("get", f"{path}/result")
        return "images", [base64.b64decode(item["b64_json"]) for item in result["data"]]

    async def _insist(self, method: str, path: str) -> Any:
        """Look up an accepted job until it has ended, in spite of every error in between."""
        end = time.monotonic() + _JOB_WITHIN_S
        while True:
            try:
                return await getattr(self._sdk, method)(path, cast_to=object)
            except (openai.APIConnectionError, openai.InternalServerError):
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(_POLL_S)

    async def _sends(self, request: Any) -> None:
        request.extensions["began"] = time.monotonic()

    async def _saw(self, response: Any) -> None:
        """Every single answer, also those that the SDK repeats."""
        self.seen.statuses[response.status_code] += 1
        if response.status_code == 503:
            self.seen.refusals_s.append(time.monotonic() - response.request.extensions["began"])
        if response.status_code == 500:
            await response.aread()
            self.seen.server_errors.append(
                f"{response.request.method} {response.request.url.path}: {response.text[:300]}"
            )


def _images(answer: Any) -> list[bytes]:
    return [base64.b64decode(item.b64_json) for item in answer.data]


def _may_pass(error: Exception) -> bool:
    """Tell whether a client must expect this: no connection, 429, 503, and what stands for 503 inside a stream."""
    if isinstance(error, openai.APIConnectionError | openai.RateLimitError):
        return True
    is_503 = isinstance(error, openai.APIStatusError) and error.status_code == 503
    return is_503 or (isinstance(error, openai.APIError) and error.code == "service_unavailable")


def _error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"

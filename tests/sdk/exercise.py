"""What an application does with the openai package, old or new, against a running service.

Runs in an environment that has that package and nothing of ours: ``python exercise.py URL FULL_URL DEAD_URL``, where
FULL_URL takes one waiting job and DEAD_URL has lost its Redis. Fails with an assertion, or prints one line.
"""

import base64
import hashlib
import hmac
import json
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import openai
from openai import BaseModel, OpenAI
from openai.pagination import SyncCursorPage

PROMPT = "a red circle on a blue background"
PNG = b"\x89PNG\r\n\x1a\n"
ENDED = ("completed", "failed", "cancelled")


class Job(BaseModel):
    """The part of a job that an application looks at."""

    id: str
    status: str
    progress: int
    prompt: str


class CountingClient(OpenAI):
    """Counts its requests; ``before`` is called with the number of each request, from 1, before it is sent."""

    sent = 0
    before: Callable[[int], object] = staticmethod(lambda _: None)

    def _prepare_request(self, request: Any) -> None:
        self.sent += 1
        self.before(self.sent)


def client_of(url: str, **options: Any) -> CountingClient:
    return CountingClient(base_url=f"{url}/v3", api_key="unused", **{"max_retries": 0, **options})


def submit(client: OpenAI, key: str | None = None, **body: Any) -> Job:
    headers = {} if key is None else {"Idempotency-Key": key}
    body = {"prompt": PROMPT, **body}
    return client.post("/images/jobs", cast_to=Job, body=body, options={"headers": headers})


def look(client: OpenAI, job: Job) -> Job:
    return client.get(f"/images/jobs/{job.id}", cast_to=Job)


def cancel(client: OpenAI, job: Job) -> Job:
    return client.post(f"/images/jobs/{job.id}/cancel", cast_to=Job)


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = 30.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.05)


def image_of(response: Any) -> bytes:
    assert len(response.data) == 1
    image = base64.b64decode(response.data[0].b64_json)
    assert image.startswith(PNG)
    return image


def generate_and_edit(url: str) -> None:
    client = client_of(url)
    response = client.images.generate(prompt=PROMPT, extra_body={"seed": 3})
    first = image_of(response)
    assert response._request_id
    assert image_of(client.images.generate(prompt=PROMPT, extra_body={"rng_seed": 3})) == first
    both = client.images.generate(prompt=PROMPT, n=2, extra_body={"seed": 3})
    assert both.data is not None and base64.b64decode(both.data[0].b64_json or "") == first and len(both.data) == 2
    edited = client.images.edit(image=first, prompt="a star", extra_body={"seed": 3, "strength": 0.5})
    assert image_of(edited) != first
    masked = client.images.edit(image=[first], mask=first, prompt="a star", extra_body={"seed": 3})
    assert image_of(masked)


def stream(url: str) -> None:
    client = client_of(url)
    drawn = client.images.generate(prompt=PROMPT, stream=True, partial_images=2, extra_body={"seed": 3})
    kinds = check_events(list(drawn), "image_generation")
    assert kinds == ["partial_image", "partial_image", "completed"], kinds
    image = image_of(client.images.generate(prompt=PROMPT, extra_body={"seed": 3}))
    edited = client.images.edit(image=image, prompt="a star", stream=True, extra_body={"strength": 0.5})
    assert check_events(list(edited), "image_edit") == ["completed"]


def check_events(events: list[Any], family: str) -> list[str]:
    partials = [event for event in events if event.type == f"{family}.partial_image"]
    assert [event.partial_image_index for event in partials] == list(range(len(partials)))
    for event in events:
        assert base64.b64decode(event.b64_json).startswith(PNG)
        assert isinstance(event.created_at, int) and event.output_format == "png"
    assert events[-1].usage.total_tokens == 0
    return [event.type.removeprefix(f"{family}.") for event in events]


def errors(url: str) -> None:
    client = client_of(url, max_retries=2)
    no_prompt: Any = None
    for asked, kind, param, code in (
        (lambda: client.images.generate(prompt="x", n=0), openai.BadRequestError, "n", "invalid_value"),
        (lambda: client.images.generate(prompt="x", model="none"), openai.NotFoundError, "model", "model_not_found"),
        (lambda: client.images.generate(prompt=no_prompt), openai.BadRequestError, "prompt", None),
        (lambda: client.images.edit(image=b"none", prompt="x"), openai.BadRequestError, "image", None),
        (lambda: look_up(client, "imgjob_none"), openai.NotFoundError, None, None),
        (lambda: client.images.generate(prompt="x", n=0, stream=True), openai.BadRequestError, "n", "invalid_value"),
    ):
        before = client.sent
        error = refusal(asked, kind)
        assert error.param == param and code in (None, error.code), error.body
        assert error.code and error.type == "invalid_request_error" and error.request_id, error.body
        assert client.sent == before + 1, "a bad request is not repeated"


def look_up(client: OpenAI, job_id: str) -> Job:
    return client.get(f"/images/jobs/{job_id}", cast_to=Job)


def refusal(asked: Callable[[], object], kind: type[Any]) -> Any:
    try:
        asked()
    except openai.APIError as error:
        assert type(error) is kind, repr(error)
        return error
    raise AssertionError("it was not refused")


def retries_while_the_queue_is_full(url: str) -> None:
    client = client_of(url)
    running = submit(client, num_inference_steps=100)
    wait_until(lambda: look(client, running).status == "in_progress", "the first job runs")
    waiting = submit(client)
    error = refusal(lambda: client.images.generate(prompt=PROMPT), openai.RateLimitError)
    assert error.code == "queue_full" and error.type == "rate_limit_error" and error.request_id, error.body
    assert 1 <= int(error.response.headers["retry-after"]) <= 60

    def make_room(number: int) -> None:
        if number == 2:
            for job in (waiting, running):
                cancel(client, job)

    patient = client_of(url, max_retries=2)
    patient.before = make_room
    assert image_of(patient.images.generate(prompt=PROMPT))
    assert patient.sent == 2


def retries_while_redis_is_away(url: str) -> None:
    client = client_of(url, max_retries=1)
    error = refusal(lambda: client.images.generate(prompt=PROMPT), openai.InternalServerError)
    assert error.status_code == 503 and error.type == "server_error" and error.code and error.request_id, error.body
    assert int(error.response.headers["retry-after"]) >= 1
    assert client.sent == 2


def page(url: str) -> None:
    client = client_of(url)
    made = [submit(client, num_inference_steps=1).id for _ in range(5)]
    for order, expected in (("desc", made[::-1]), ("asc", made)):
        options: Any = {"params": {"limit": 2, "order": order}}
        pages = client.get_api_list("/images/jobs", page=SyncCursorPage[Job], model=Job, options=options)
        listed = [job.id for job in pages]
        assert len(set(listed)) == len(listed) > 5, "none twice"
        assert [job_id for job_id in listed if job_id in made] == expected


def poll(url: str) -> None:
    client = client_of(url)
    key = uuid.uuid4().hex
    job = submit(client, key=key, seed=3)
    assert job.status in ("queued", "in_progress") and job.prompt == PROMPT
    assert submit(client, key=key, seed=3).id == job.id, "the same key and body are the same job"
    error = refusal(lambda: submit(client, key=key, seed=4), openai.UnprocessableEntityError)
    assert error.code and error.request_id, error.body
    wait_until(lambda: look(client, job).status in ENDED, "the job ends")
    ended = look(client, job)
    assert (ended.status, ended.progress) == ("completed", 100)
    result = client.get(f"/images/jobs/{job.id}/result", cast_to=openai.types.ImagesResponse)
    assert image_of(result) == image_of(client.images.generate(prompt=PROMPT, extra_body={"seed": 3}))


def time_out_three_times(url: str) -> None:
    mine = uuid.uuid4().hex
    impatient = client_of(url, timeout=0.5, max_retries=2)
    more = {"num_inference_steps": 100, "metadata": {"test": mine}}
    refusal(lambda: impatient.images.generate(prompt=mine, extra_body=more), openai.APITimeoutError)
    assert impatient.sent == 3
    client = client_of(url)
    options: Any = {"params": {"limit": 100}}
    pages = client.get_api_list("/images/jobs", page=SyncCursorPage[Job], model=Job, options=options)
    (job,) = [job for job in pages if job.prompt == mine]
    cancel(client, job)
    wait_until(lambda: look(client, job).status in ENDED, "it is cancelled")


def unwrap_a_webhook(url: str) -> None:
    key = b"a secret of twenty-four!"
    secrets = "whsec_" + base64.b64encode(key).decode()
    data = {"id": "imgjob_1", "status": "completed"}
    body = json.dumps({"id": "evt_1", "object": "event", "created_at": 1, "type": "image.job.completed", "data": data})
    now = int(time.time())
    client = OpenAI(base_url=url, api_key="unused", webhook_secret=secrets)
    event: Any = client.webhooks.unwrap(body, signed(body, key, now))
    assert (event.id, event.type, event.data.id) == ("evt_1", "image.job.completed", "imgjob_1")
    for headers in (signed(body, b"another secret", now), signed(body, key, now - 400)):
        try:
            client.webhooks.unwrap(body, headers)
        except openai.InvalidWebhookSignatureError:
            continue
        raise AssertionError("a wrong signature was accepted")


def signed(body: str, key: bytes, now: int) -> dict[str, str]:
    digest = hmac.digest(key, f"wh_1.{now}.{body}".encode(), hashlib.sha256)
    signature = f"v1,{base64.b64encode(b'of a former secret').decode()} v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": "wh_1", "webhook-timestamp": str(now), "webhook-signature": signature}


def main(url: str, full_url: str, dead_url: str) -> None:
    for exercise in (generate_and_edit, stream, errors, page, poll, time_out_three_times, unwrap_a_webhook):
        exercise(url)
    retries_while_the_queue_is_full(full_url)
    retries_while_redis_is_away(dead_url)
    print(f"openai {openai.__version__}: all is well")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The command line's client of the HTTP API: submits jobs, lists them, follows them, cancels them, fetches images."""

import contextlib
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self
from urllib.parse import quote

import httpx2

from cli.client.answers import (
    AnswerForm,
    EventForm,
    ImagesForm,
    JobForm,
    ModelForm,
    ModelsForm,
    OtherForm,
    RefreshForm,
    bound_answer,
    parsed_object,
    read_answer,
)
from cli.errors import UserError
from cli.polling import attempts
from config.environment import DEFAULT_SERVER_URL, client_api_key, client_url
from workers.jobs.status import EXPIRED, FINAL_STATUSES, Status
from workers.net.proxies import EnvironmentTransport

JobJson = dict[str, Any]

_PREFIX = re.compile(r"(/v[13])?/*$")
_POLL_S = 0.2
_RECONNECT_S = 0.5
# A server that restarts is back within seconds, and has lost no job.
_AWAY_S = 15.0
# The server sends a heartbeat every 15 s on an event stream that is idle.
_SILENCE_S = 60.0
_LONGEST_MESSAGE = 1000
_LONGEST_WAIT_TEXT = 40
_FINAL = frozenset({*FINAL_STATUSES, EXPIRED})


class ServerClient:
    """Sends requests to one server. Every error that the user should see is a UserError."""

    def __init__(self, url: str | None, api_key: str | None, timeout_s: float) -> None:
        """Without ``url``, the server is that of IMAGEGEN_URL, or one on this machine; ``/v3`` at its end is left out.

        Without ``api_key``, IMAGEGEN_API_KEY is sent if it is set.
        """
        url = _PREFIX.sub("", url or client_url() or DEFAULT_SERVER_URL)
        if not url.startswith(("http://", "https://")):
            raise UserError(f"--url {url}: it must begin with http:// or https://.")
        api_key = api_key or client_api_key()
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise UserError("the API key has a character that no request can carry; see how it was copied.")
        self._url = url
        self._timeout_s = timeout_s
        # A short answer that is compressed can be a long one: none is asked for, and bound_answer refuses it.
        headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {api_key}"} if api_key else {})}
        try:
            self._http = httpx2.Client(
                base_url=f"{self._url}/v3/images",
                headers=headers,
                timeout=httpx2.Timeout(timeout_s, connect=5),
                event_hooks={"response": [bound_answer]},
                transport=EnvironmentTransport(),
            )
        except (httpx2.InvalidURL, ValueError) as error:
            hint = "; IPv6 is written in brackets, as [::1]:8000" if "::" in url and "[" not in url else ""
            raise UserError(f"--url {url}: {error}{hint}.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def draw(
        self, fields: Mapping[str, Any], images: Mapping[str, tuple[str, bytes]], show: Callable[[JobJson], None]
    ) -> dict[str, Any]:
        """Submit a job, call ``show`` with the job each time it is polled, and return its ImagesResponse.

        ``images`` (field to file name and content) makes it an edit. If this is interrupted, or takes longer than
        the client's time limit, the job is cancelled.
        """
        deadline = time.monotonic() + self._timeout_s
        response = self._send(fields, images)
        if response.status_code != httpx2.codes.ACCEPTED:  # a server that ignores Prefer and returns the image
            return self._read(response, ImagesForm)
        answer = self._read(response, JobForm)
        try:
            ended = self._follow(answer, show, deadline)
        except BaseException:
            self._cancel_quietly(answer["id"])
            raise
        if ended["status"] != Status.COMPLETED:
            error = ended.get("error") or {}
            raise UserError(f"the job is {ended['status']}: {error.get('message') or 'no reason was given'}")
        return self.images(answer["id"])

    def images(self, job_id: str) -> dict[str, Any]:
        """Return the ImagesResponse of a completed job."""
        return self._read(self._checked(self._get(f"{job_path(job_id)}/result")), ImagesForm)

    def submit(self, fields: Mapping[str, Any], images: Mapping[str, tuple[str, bytes]]) -> str:
        """Submit a job without waiting for it, and return its id."""
        response = self._send(fields, images)
        if response.status_code != httpx2.codes.ACCEPTED:
            raise UserError("this server answers with the image only; leave --async out.")
        return str(self._read(response, JobForm)["id"])

    def job(self, job_id: str) -> JobJson:
        """Return the job."""
        return self.call("GET", job_path(job_id), JobForm)

    def cancel(self, job_id: str) -> JobJson:
        """Cancel the job and return it as it is afterwards."""
        return self.call("POST", f"{job_path(job_id)}/cancel", JobForm)

    def models(self) -> list[dict[str, Any]]:
        """Return the models that are served: bases, adapters and composites."""
        found: list[dict[str, Any]] = self.call("GET", f"{self._url}/v3/models", ModelsForm)["data"]
        return found

    def model(self, name: str) -> dict[str, Any]:
        """Return one model that is served."""
        return self.call("GET", f"{self._url}/v3/models/{quote(name, errors='surrogateescape')}", ModelForm)

    def refresh_adapters(self) -> dict[str, Any]:
        """Make the server look at its folder of adapters again, and return what has changed."""
        return self.call("POST", f"{self._url}/v3/lora_adapters/refresh", RefreshForm)

    def events(self, job_id: str) -> Iterator[JobJson]:
        """Yield the job's events up to its final one, also while the server restarts."""
        after = 0
        heard_at = time.monotonic()
        for _ in attempts(math.inf, _RECONNECT_S):
            began = time.monotonic()
            try:
                for event in self._events_after(job_id, after):
                    yield event
                    after = event["sequence_number"]
                    heard_at = time.monotonic()
                    if event["type"] in _FINAL:
                        return
            except httpx2.TransportError as error:
                self._check_still_waiting(heard_at, after, error)
            else:  # a server that restarts ends its streams; one that does nothing else is none
                if time.monotonic() - began > _RECONNECT_S:
                    heard_at = time.monotonic()
                if time.monotonic() - heard_at > _AWAY_S:
                    raise self._other_server(OtherForm("it ends its stream of events"))

    def _events_after(self, job_id: str, after: int) -> Iterator[JobJson]:
        timeout = httpx2.Timeout(_SILENCE_S, connect=5)
        params = {"starting_after": after}
        with (
            self._other_forms(),
            self._http.stream("GET", f"{job_path(job_id)}/events", params=params, timeout=timeout) as response,
        ):
            if not response.is_success:
                response.read()
            if response.status_code == httpx2.codes.SERVICE_UNAVAILABLE and after:
                raise httpx2.ReadError("it is not available")
            self._checked(response)
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise OtherForm("its answer is no stream of events")
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield parsed_object(line.removeprefix("data: "), EventForm)

    def _check_still_waiting(self, heard_at: float, after: int, error: httpx2.TransportError) -> None:
        """Raise UserError if there never was a server, or if it has been away for too long."""
        if not after:
            raise self._no_server(error) from error
        limit_s = _AWAY_S + (_SILENCE_S if isinstance(error, httpx2.ReadTimeout) else 0.0)
        if time.monotonic() - heard_at > limit_s:
            raise self._gone(error) from error

    def _follow(self, job: JobJson, show: Callable[[JobJson], None], deadline: float) -> JobJson:
        show(job)
        for _ in attempts(deadline - time.monotonic(), _POLL_S):
            job = self._read(self._checked(self._get(job_path(job["id"]))), JobForm)
            show(job)
            if job["status"] in _FINAL:
                return job
        raise UserError(f"no image after {self._timeout_s:g} s; the job was cancelled.")

    def _send(self, fields: Mapping[str, Any], images: Mapping[str, tuple[str, bytes]]) -> httpx2.Response:
        prefer = {"Prefer": "respond-async"}
        with self._server_errors():
            if images:
                form = {name: str(value) for name, value in fields.items()}
                response = self._http.post("/edits", data=form, files=dict(images), headers=prefer)
            else:
                response = self._http.post("/generations", json=dict(fields), headers=prefer)
        return self._checked(response)

    def _get(self, path: str) -> httpx2.Response:
        """Send a GET, again while the server restarts."""
        outcome: httpx2.Response | httpx2.TransportError
        for _ in attempts(_AWAY_S, _POLL_S):
            try:
                with self._other_forms():
                    outcome = self._http.get(path)
            except httpx2.TransportError as error:
                outcome = error
                continue
            if outcome.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
                return outcome
        if isinstance(outcome, httpx2.TransportError):
            raise self._gone(outcome) from outcome
        return outcome

    def call(
        self, method: str, path: str, form: type[AnswerForm], params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Send a request without a body, and return its answer of this form."""
        with self._server_errors():
            return self._read(self._checked(self._http.request(method, path, params=params)), form)

    def _read(self, response: httpx2.Response, form: type[AnswerForm]) -> dict[str, Any]:
        with self._other_forms():
            return read_answer(response, form)

    @contextlib.contextmanager
    def _server_errors(self) -> Iterator[None]:
        """Raise UserError where no server answers, or one that is none of this project."""
        try:
            with self._other_forms():
                yield
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise self._no_server(error) from error

    @contextlib.contextmanager
    def _other_forms(self) -> Iterator[None]:
        """Raise UserError where the answer has another form than that of this project's server."""
        try:
            yield
        except OtherForm as error:
            raise self._other_server(error) from error

    def _cancel_quietly(self, job_id: str) -> None:
        with contextlib.suppress(httpx2.HTTPError, OtherForm):
            self._http.post(f"{job_path(job_id)}/cancel", timeout=5)

    def _checked(self, response: httpx2.Response) -> httpx2.Response:
        if response.is_success:
            return response
        wait_s = response.headers.get("retry-after", "")[:_LONGEST_WAIT_TEXT]
        again = f" (try again in {wait_s} s)" if wait_s else ""
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            again = " Give a key of the server with --api_key, or set IMAGEGEN_API_KEY."
        raise UserError(f"the server refuses: {error_message(response)}{again}")

    def _no_server(self, error: Exception) -> UserError:
        return UserError(
            f"no server answers at {self._url} ({error}); "
            "start one with `imagegen serve`, or give the address of another with --url or IMAGEGEN_URL."
        )

    def _other_server(self, error: Exception) -> UserError:
        return UserError(f"what answers at {self._url} is no imagegen server, or one of another release ({error}).")

    def _gone(self, error: Exception) -> UserError:
        return UserError(f"the server at {self._url} is gone: {error}")


def error_message(response: httpx2.Response) -> str:
    """Return the message of an error response, with the parameter it names."""
    try:
        error = response.json()["error"]
        message = str(error["message"])
        param = error.get("param")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"HTTP {response.status_code} {response.reason_phrase}"
    shown = message if not isinstance(param, str) or not param or param in message else f"{param}: {message}"
    return shown[:_LONGEST_MESSAGE]


def job_path(job_id: str) -> str:
    """Return the path of a job."""
    return f"/jobs/{quote(job_id, safe='', errors='surrogateescape')}"

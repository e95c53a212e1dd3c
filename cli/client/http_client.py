"""The command line's client of the HTTP API: submits jobs, lists them, follows them, cancels them, fetches images."""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self
from urllib.parse import quote

import httpx

from cli.errors import UserError
from cli.polling import attempts
from workers.jobs.status import EXPIRED, FINAL_STATUSES, Status

JobJson = dict[str, Any]

_POLL_S = 0.2
_RECONNECT_S = 0.5
# A server that restarts is back within seconds, and has lost no job.
_AWAY_S = 15.0
# The server sends a heartbeat every 15 s on an event stream that is idle.
_SILENCE_S = 60.0
_PAGE = 100
_FINAL = frozenset({*FINAL_STATUSES, EXPIRED})


class ServerClient:
    """Sends requests to one server. Every error that the user should see is a UserError."""

    def __init__(self, url: str, api_key: str | None, timeout_s: float) -> None:
        if not url.startswith(("http://", "https://")):
            raise UserError(f"--url {url}: it must begin with http:// or https://.")
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            self._http = httpx.Client(
                base_url=f"{self._url}/v3/images", headers=headers, timeout=httpx.Timeout(timeout_s, connect=5)
            )
        except httpx.InvalidURL as error:
            raise UserError(f"--url {url}: {error}.") from error

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
        answer: dict[str, Any] = response.json()
        if response.status_code != httpx.codes.ACCEPTED:  # a server that ignores Prefer and returns the image
            return answer
        try:
            ended = self._follow(answer, show, deadline)
        except BaseException:
            self._cancel_quietly(answer["id"])
            raise
        if ended["status"] != Status.COMPLETED:
            error = ended.get("error") or {}
            raise UserError(f"the job is {ended['status']}: {error.get('message') or 'no reason was given'}")
        result: dict[str, Any] = self._checked(self._get(f"{_path(answer['id'])}/result")).json()
        return result

    def submit(self, fields: Mapping[str, Any], images: Mapping[str, tuple[str, bytes]]) -> str:
        """Submit a job without waiting for it, and return its id."""
        response = self._send(fields, images)
        if response.status_code != httpx.codes.ACCEPTED:
            raise UserError("this server answers with the image only; leave --async out.")
        return str(response.json()["id"])

    def jobs(self, status: str | None, limit: int) -> list[JobJson]:
        """Return the newest jobs, at most ``limit``."""
        found: list[JobJson] = []
        params: dict[str, Any] = {"status": status} if status else {}
        while len(found) < limit:
            page = self._json("GET", "/jobs", params={**params, "limit": min(_PAGE, limit - len(found))})
            found += page["data"]
            if not page["has_more"]:
                break
            params["after"] = page["last_id"]
        return found

    def job(self, job_id: str) -> JobJson:
        """Return the job."""
        return self._json("GET", _path(job_id))

    def cancel(self, job_id: str) -> JobJson:
        """Cancel the job and return it as it is afterwards."""
        return self._json("POST", f"{_path(job_id)}/cancel")

    def models(self) -> list[dict[str, Any]]:
        """Return the models that are served: bases, adapters and composites."""
        found: list[dict[str, Any]] = self._json("GET", f"{self._url}/v3/models")["data"]
        return found

    def model(self, name: str) -> dict[str, Any]:
        """Return one model that is served."""
        return self._json("GET", f"{self._url}/v3/models/{quote(name)}")

    def refresh_adapters(self) -> dict[str, Any]:
        """Make the server look at its folder of adapters again, and return what has changed."""
        return self._json("POST", f"{self._url}/v3/lora_adapters/refresh")

    def events(self, job_id: str) -> Iterator[JobJson]:
        """Yield the job's events up to its final one, also while the server restarts."""
        after = 0
        heard_at = time.monotonic()
        for _ in attempts(math.inf, _RECONNECT_S):
            try:
                for event in self._events_after(job_id, after):
                    yield event
                    after = event["sequence_number"]
                    heard_at = time.monotonic()
                    if event["type"] in _FINAL:
                        return
            except httpx.TransportError as error:
                self._check_still_waiting(heard_at, after, error)

    def _events_after(self, job_id: str, after: int) -> Iterator[JobJson]:
        timeout = httpx.Timeout(_SILENCE_S, connect=5)
        params = {"starting_after": after}
        with self._http.stream("GET", f"{_path(job_id)}/events", params=params, timeout=timeout) as response:
            if not response.is_success:
                response.read()
            if response.status_code == httpx.codes.SERVICE_UNAVAILABLE and after:
                raise httpx.ReadError("it is not available")
            self._checked(response)
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def _check_still_waiting(self, heard_at: float, after: int, error: httpx.TransportError) -> None:
        """Raise UserError if there never was a server, or if it has been away for too long."""
        if not after:
            raise self._no_server(error) from error
        limit_s = _AWAY_S + (_SILENCE_S if isinstance(error, httpx.ReadTimeout) else 0.0)
        if time.monotonic() - heard_at > limit_s:
            raise self._gone(error) from error

    def _follow(self, job: JobJson, show: Callable[[JobJson], None], deadline: float) -> JobJson:
        show(job)
        for _ in attempts(deadline - time.monotonic(), _POLL_S):
            job = self._checked(self._get(_path(job["id"]))).json()
            show(job)
            if job["status"] in _FINAL:
                return job
        raise UserError(f"no image after {self._timeout_s:g} s; the job was cancelled.")

    def _send(self, fields: Mapping[str, Any], images: Mapping[str, tuple[str, bytes]]) -> httpx.Response:
        prefer = {"Prefer": "respond-async"}
        try:
            if images:
                form = {name: str(value) for name, value in fields.items()}
                response = self._http.post("/edits", data=form, files=dict(images), headers=prefer)
            else:
                response = self._http.post("/generations", json=dict(fields), headers=prefer)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._no_server(error) from error
        return self._checked(response)

    def _get(self, path: str) -> httpx.Response:
        """Send a GET, again while the server restarts."""
        outcome: httpx.Response | httpx.TransportError
        for _ in attempts(_AWAY_S, _POLL_S):
            try:
                outcome = self._http.get(path)
            except httpx.TransportError as error:
                outcome = error
                continue
            if outcome.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return outcome
        if isinstance(outcome, httpx.TransportError):
            raise self._gone(outcome) from outcome
        return outcome

    def _json(self, method: str, path: str, params: Mapping[str, Any] | None = None) -> JobJson:
        try:
            response = self._http.request(method, path, params=params)
        except httpx.TransportError as error:
            raise self._no_server(error) from error
        found: JobJson = self._checked(response).json()
        return found

    def _cancel_quietly(self, job_id: str) -> None:
        with contextlib.suppress(httpx.HTTPError):
            self._http.post(f"{_path(job_id)}/cancel", timeout=5)

    def _checked(self, response: httpx.Response) -> httpx.Response:
        if response.is_success:
            return response
        wait_s = response.headers.get("retry-after")
        again = f" (try again in {wait_s} s)" if wait_s else ""
        raise UserError(f"the server refuses: {error_message(response)}{again}")

    def _no_server(self, error: Exception) -> UserError:
        return UserError(
            f"no server answers at {self._url} ({error}); "
            "start one with `imagegen serve`, or give the address of another with --url."
        )

    def _gone(self, error: Exception) -> UserError:
        return UserError(f"the server at {self._url} is gone: {error}")


def error_message(response: httpx.Response) -> str:
    """Return the message of an error response, with the parameter it names."""
    try:
        error = response.json()["error"]
        message = str(error["message"])
        param = error.get("param")
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"HTTP {response.status_code} {response.reason_phrase}"
    return f"{param}: {message}" if param and param not in message else message


def _path(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"

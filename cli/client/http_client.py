"""The command line's client of the HTTP API: submit a job, follow it, cancel it, fetch its pictures."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import httpx

from cli.errors import UserError
from cli.local.readiness_probe import error_message

_POLL_S = 0.2
# A server that restarts is back within seconds, and has lost no job.
AWAY_S = 15.0
ENDED = ("completed", "failed", "cancelled", "expired")

JobJson = dict[str, Any]


class ImageClient:
    """Talks to one server. Every error that a person should see is a UserError."""

    def __init__(self, url: str, api_key: str | None, timeout_s: float) -> None:
        if not url.startswith(("http://", "https://")):
            raise UserError(f"--url {url}: it must begin with http:// or https://.")
        self._url, self._timeout_s = url.rstrip("/"), timeout_s
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
        self,
        fields: Mapping[str, Any],
        pictures: Mapping[str, tuple[str, bytes]],
        show: Callable[[JobJson], None],
    ) -> dict[str, Any]:
        """Submit a job, show it each time it is looked at, and return its ImagesResponse.

        ``pictures`` (field to file name and bytes) makes it an edit. When this is interrupted or takes longer
        than the client's time limit, the job is cancelled.
        """
        deadline = time.monotonic() + self._timeout_s
        response = self._send(fields, pictures)
        answer: dict[str, Any] = response.json()
        if response.status_code != httpx.codes.ACCEPTED:  # a server that only answers with the picture
            return answer
        try:
            ended = self._follow(answer, show, deadline)
        except BaseException:
            self._cancel(answer["id"])
            raise
        if ended["status"] != "completed":
            error = ended.get("error") or {}
            raise UserError(f"the job is {ended['status']}: {error.get('message') or 'no reason was given'}")
        result: dict[str, Any] = self._checked(self._get(f"/jobs/{answer['id']}/result")).json()
        return result

    def submit(self, fields: Mapping[str, Any], pictures: Mapping[str, tuple[str, bytes]]) -> str:
        """Submit a job that nobody waits for, and return its id."""
        response = self._send(fields, pictures)
        if response.status_code != httpx.codes.ACCEPTED:
            raise UserError("this server answers with the picture only; leave --async out.")
        return str(response.json()["id"])

    def _send(self, fields: Mapping[str, Any], pictures: Mapping[str, tuple[str, bytes]]) -> httpx.Response:
        prefer = {"Prefer": "respond-async"}
        try:
            if pictures:
                form = {name: str(value) for name, value in fields.items()}
                response = self._http.post("/edits", data=form, files=dict(pictures), headers=prefer)
            else:
                response = self._http.post("/generations", json=dict(fields), headers=prefer)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._nobody_there(error) from error
        return self._checked(response)

    def _follow(self, job: JobJson, show: Callable[[JobJson], None], deadline: float) -> JobJson:
        pause = threading.Event()
        show(job)
        while job["status"] not in ENDED:
            if time.monotonic() > deadline:
                raise UserError(f"no picture after {self._timeout_s:g} s; the job was cancelled.")
            pause.wait(_POLL_S)
            job = self._checked(self._get(f"/jobs/{job['id']}")).json()
            show(job)
        return job

    def _get(self, path: str) -> httpx.Response:
        """GET, also over a short absence of the server."""
        began = time.monotonic()
        pause = threading.Event()
        while True:
            try:
                response = self._http.get(path)
            except httpx.TransportError as error:
                if time.monotonic() - began > AWAY_S:
                    raise UserError(f"the server at {self._url} is gone: {error}") from error
            else:
                away = response.status_code == httpx.codes.SERVICE_UNAVAILABLE
                if not away or time.monotonic() - began > AWAY_S:
                    return response
            pause.wait(_POLL_S)

    def _nobody_there(self, error: Exception) -> UserError:
        return UserError(
            f"no server answers at {self._url} ({error}); "
            "start one with `imagegen serve`, or give the address of another with --url."
        )

    def _cancel(self, job_id: str) -> None:
        with contextlib.suppress(httpx.HTTPError):
            self._http.post(f"/jobs/{job_id}/cancel", timeout=5)

    def _checked(self, response: httpx.Response) -> httpx.Response:
        if response.is_success:
            return response
        wait_s = response.headers.get("retry-after")
        again = f" (try again in {wait_s} s)" if wait_s else ""
        raise UserError(f"the server refuses: {error_message(response)}{again}")

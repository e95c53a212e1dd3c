"""The command line's view of jobs on a server: list them, look at one, follow it, cancel it."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from cli.client.http_client import AWAY_S, ENDED, ImageClient, JobJson
from cli.errors import UserError

_PAGE = 100
_PAUSE_S = 0.5
# The server sends a sign of life every 15 s.
_SILENCE_S = 60.0


class JobsClient(ImageClient):
    """Talks to one server about jobs. Every error that a person should see is a UserError."""

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
        """Return the job object."""
        return self._json("GET", _path(job_id))

    def cancel(self, job_id: str) -> JobJson:
        """Cancel the job and return it as it then is."""
        return self._json("POST", f"{_path(job_id)}/cancel")

    def events(self, job_id: str) -> Iterator[JobJson]:
        """Yield the job's events up to its final one, also over a short absence of the server."""
        after, heard_at = 0, time.monotonic()
        pause = threading.Event()
        while True:
            try:
                for event in self._events_after(job_id, after):
                    yield event
                    after, heard_at = event["sequence_number"], time.monotonic()
                    if event["type"] in ENDED:
                        return
            except httpx.TransportError as error:
                self._give_up_after(heard_at, after, error)
            pause.wait(_PAUSE_S)

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

    def _give_up_after(self, heard_at: float, after: int, error: httpx.TransportError) -> None:
        if not after:
            raise self._nobody_there(error) from error
        if time.monotonic() - heard_at > max(AWAY_S, _SILENCE_S + AWAY_S if _is_silence(error) else 0.0):
            raise UserError(f"the server at {self._url} is gone: {error}") from error

    def _json(self, method: str, path: str, params: Mapping[str, Any] | None = None) -> JobJson:
        try:
            response = self._http.request(method, path, params=params)
        except httpx.TransportError as error:
            raise self._nobody_there(error) from error
        found: JobJson = self._checked(response).json()
        return found


def _path(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"


def _is_silence(error: httpx.TransportError) -> bool:
    return isinstance(error, httpx.ReadTimeout)

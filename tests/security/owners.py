"""An API with several keys, and what their owners send to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from tests.api.api_support import Api, error_of

JOBS = "/v3/images/jobs"
BODY = {"prompt": "a red circle"}
# The first key is an administrator's.
KEYS = ("admin-key", "one-key", "two-key")
ADMIN, ONE, TWO = ({"Authorization": f"Bearer {key}"} for key in KEYS)


def write_keys(path: Path, *keys: str) -> Path:
    """Write a key file as an operator replaces one: in one step."""
    written = path.with_name("keys.new")
    written.write_text("".join(f"{key}\n" for key in keys))
    written.chmod(0o600)
    written.replace(path)
    return path


def put(api: Api, name: str, owner: Mapping[str, str], status: int = 202, **body: Any) -> dict[str, Any]:
    """Submit a job under a name and return the job object."""
    answer = api.http.put(f"{JOBS}/{name}", json={**BODY, **body}, headers=owner)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def get(api: Api, path: str, owner: Mapping[str, str]) -> httpx2.Response:
    return api.http.get(f"{JOBS}/{path}", headers=owner)


def is_unknown(answer: httpx2.Response) -> bool:
    """Return whether the answer says no more than that there is no such job."""
    return bool(error_of(answer, 404)["code"] == "job_not_found")

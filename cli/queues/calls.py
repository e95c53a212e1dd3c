"""The calls of the command line that are about many jobs: they are listed or cancelled, and their queues changed."""

from collections.abc import Mapping
from typing import Any

from cli.client.answers import AnswerForm, JobPageForm
from cli.client.http_client import ServerClient, job_path
from cli.queues.forms import (
    FailedJobsForm,
    JobMovedForm,
    JobsCancelledForm,
    QueueChangedForm,
    WaitingJobsForm,
    WaitingOwnersForm,
    WorkersForm,
)

_PAGE = 100


def jobs(client: ServerClient, status: str | None, limit: int) -> list[dict[str, Any]]:
    """Return the newest jobs, at most ``limit``, or those with one status."""
    return _listed(client, "/jobs", JobPageForm, {"status": status}, limit)


def waiting_jobs(client: ServerClient, model: str | None, limit: int) -> list[dict[str, Any]]:
    """Return the jobs of all owners that wait for a model, the next one first, at most ``limit``."""
    return _listed(client, "/queue/jobs", WaitingJobsForm, {"model": model}, limit)


def failures(client: ServerClient, model: str | None, limit: int) -> list[dict[str, Any]]:
    """Return the last jobs of all owners that failed, the newest first: of a model, or of all."""
    params = {"limit": limit, **({"model": model} if model else {})}
    found: list[dict[str, Any]] = client.call("GET", "/queue/errors", FailedJobsForm, params=params)["data"]
    return found


def workers(client: ServerClient) -> list[dict[str, Any]]:
    """Return the workers that are alive."""
    found: list[dict[str, Any]] = client.call("GET", "/queue/workers", WorkersForm)["data"]
    return found


def to_front(client: ServerClient, job_id: str, owner: str | None) -> dict[str, Any]:
    """Move a waiting job before all others of its model, and return whose it is; ``owner``: who chose this id."""
    params = {"owner": owner} if owner else {}
    return client.call("POST", f"{job_path(job_id)}/front", JobMovedForm, params=params)


def cancel_all(client: ServerClient, status: str | None, owner: str | None) -> int:
    """Cancel all jobs that wait or run, or those with one status; ``owner``: another key's label. Return how many."""
    params = {name: value for name, value in (("status", status), ("owner", owner)) if value}
    cancelled = 0
    has_more = True
    while has_more:
        answer = client.call("POST", "/jobs/cancel", JobsCancelledForm, params=params)
        cancelled += answer["cancelled"]
        has_more = answer["has_more"]
    return cancelled


def pause(client: ServerClient, model: str | None, *, is_paused: bool) -> list[str]:
    """Pause the queue of a model, or all, or resume them; return the models where that changed anything."""
    path = "/queue/pause" if is_paused else "/queue/resume"
    answer = client.call("POST", path, QueueChangedForm, params={"model": model} if model else {})
    return list(answer["models"])


def waiting(client: ServerClient) -> list[dict[str, Any]]:
    """Return how many jobs of each owner wait for each model."""
    found: list[dict[str, Any]] = client.call("GET", "/queue/owners", WaitingOwnersForm)["data"]
    return found


def _listed(
    client: ServerClient, path: str, form: type[AnswerForm], wanted: Mapping[str, str | None], limit: int
) -> list[dict[str, Any]]:
    """Return the first entries of a list that has pages, at most ``limit``."""
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {name: value for name, value in wanted.items() if value}
    while len(found) < limit:
        page = client.call("GET", path, form, params={**params, "limit": min(_PAGE, limit - len(found))})
        found += page["data"]
        if not page["has_more"] or not page["data"]:
            break
        params["after"] = page["data"][-1]["id"]
    return found[:limit]

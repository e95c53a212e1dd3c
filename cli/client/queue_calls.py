"""The calls of the command line that are about many jobs: all are cancelled, queues are paused, owners are counted."""

from typing import Any

from cli.client.answers import JobsCancelledForm, QueueChangedForm, WaitingOwnersForm
from cli.client.http_client import ServerClient


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

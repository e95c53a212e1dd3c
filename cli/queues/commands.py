"""The commands of ``imagegen jobs`` that are about many jobs, most of them for administrators."""

import time
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.options import ServerApiKey, ServerUrl
from cli.terminal import duration, moment, say, show_rows
from workers.jobs.status import Status

if TYPE_CHECKING:
    from cli.client.http_client import ServerClient

_Answer = TypeVar("_Answer")

queues = typer.Typer()


class _UnfinishedStatus(StrEnum):
    QUEUED = Status.QUEUED.value
    IN_PROGRESS = Status.IN_PROGRESS.value


JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, as `imagegen jobs list` shows it.")]
_Unfinished = Annotated[_UnfinishedStatus | None, typer.Option("--status", help="Only those with this status.")]
_Owner = Annotated[str | None, typer.Option("--owner", help="Those of another key, by its label (for administrators).")]
_Model = Annotated[str | None, typer.Argument(metavar="MODEL", help="A model; all of them where it is left out.")]
_OneModel = Annotated[str | None, typer.Argument(metavar="MODEL", help="May be left out where one model is served.")]
_Next = Annotated[int, typer.Option("--limit", min=1, help="How many, the next one first.")]
_Chose = Annotated[
    str | None, typer.Option("--owner", help="Whose job it is, by the key's label: for an id that its owner chose.")
]
_Last = Annotated[int, typer.Option("--limit", min=1, max=100, help="How many, the newest first.")]
_NUMBERS = ("images", "steps", "pixels", "age")
TIMEOUT_S = 30.0


@queues.command("cancel-all")
def cancel_all(
    status: _Unfinished = None, owner: _Owner = None, url: ServerUrl = None, api_key: ServerApiKey = None
) -> None:
    """Cancel all of your jobs that wait or run."""
    from cli.queues import calls

    count = answer(url, api_key, lambda client: calls.cancel_all(client, status.value if status else None, owner))
    say(f"{count} job{'' if count == 1 else 's'} cancelled")


@queues.command()
def pause(model: _Model = None, url: ServerUrl = None, api_key: ServerApiKey = None) -> None:
    """Let no further job of a model begin, or of any (for administrators); what runs goes on."""
    _change_queues(model, url, api_key, is_paused=True)


@queues.command()
def resume(model: _Model = None, url: ServerUrl = None, api_key: ServerApiKey = None) -> None:
    """Let jobs of a model begin again, or of all (for administrators)."""
    _change_queues(model, url, api_key, is_paused=False)


@queues.command()
def waiting(url: ServerUrl = None, api_key: ServerApiKey = None) -> None:
    """Show how many jobs of each owner wait (for administrators)."""
    from cli.queues import calls

    found = answer(url, api_key, lambda client: calls.waiting(client))
    rows = ((one["owner"], one["model"], str(one["queued"]), str(one["queued_bytes"])) for one in found)
    show_rows(("owner", "model", "jobs", "bytes"), rows, right=("jobs", "bytes"))


@queues.command()
def queue(model: _OneModel = None, limit: _Next = 20, url: ServerUrl = None, api_key: ServerApiKey = None) -> None:
    """List the jobs of all owners that wait for a model, without what they ask for (for administrators)."""
    from cli.queues import calls

    found = answer(url, api_key, lambda client: calls.waiting_jobs(client, model, limit))
    show_rows(("id", "owner", "priority", "images", "steps", "pixels", "age"), map(_waiting_row, found), right=_NUMBERS)


@queues.command()
def errors(model: _Model = None, limit: _Last = 20, url: ServerUrl = None, api_key: ServerApiKey = None) -> None:
    """Show the last jobs of all owners that failed, and why (for administrators)."""
    from cli.queues import calls

    found = answer(url, api_key, lambda client: calls.failures(client, model, limit))
    show_rows(("time", "model", "owner", "job", "worker", "code", "message"), map(_failed_row, found))


@queues.command()
def workers(url: ServerUrl = None, api_key: ServerApiKey = None) -> None:
    """Show what each worker does, its last job's seconds by stage, and its last error (for administrators)."""
    from cli.queues import calls

    found = answer(url, api_key, calls.workers)
    columns = ("name", "model", "device", "stage", "for", "job", "last job", "last error")
    show_rows(columns, map(_worker_row, found), right=("for",))


@queues.command()
def front(job_id: JobId, owner: _Chose = None, url: ServerUrl = None, api_key: ServerApiKey = None) -> None:
    """Move a waiting job before all others of its model (for administrators); the one moved last is first."""
    from cli.queues import calls

    moved = answer(url, api_key, lambda client: calls.to_front(client, job_id, owner))
    say(f"{moved['id']} of {moved['owner']} is the next job of {moved['model']}")


def answer(url: str | None, api_key: str | None, ask: Callable[["ServerClient"], _Answer]) -> _Answer:
    """Return what ``ask`` gets of the server at ``url``. Raises UserError."""
    from cli.client.http_client import ServerClient

    with ServerClient(url, api_key, TIMEOUT_S) as client:
        return ask(client)


def _change_queues(model: str | None, url: str | None, api_key: str | None, *, is_paused: bool) -> None:
    from cli.queues import calls

    changed = answer(url, api_key, lambda client: calls.pause(client, model, is_paused=is_paused))
    word = "paused" if is_paused else "resumed"
    say(f"{word}: {', '.join(changed)}" if changed else f"nothing was {word}; `imagegen jobs waiting` shows what waits")


def _waiting_row(job: dict[str, Any]) -> tuple[str, ...]:
    priority = "front" if job["moved"] else job["priority"]
    amount = (str(job[name]) for name in ("n", "steps", "pixels"))
    return job["id"], job["owner"], priority, *amount, duration(time.time() - job["created_at"])


def _failed_row(job: dict[str, Any]) -> tuple[str, ...]:
    names = ("model", "owner", "id", "worker", "code", "message")
    return moment(job["failed_at"]), *(job[name] or "-" for name in names)


def _worker_row(worker: dict[str, Any]) -> tuple[str, ...]:
    since = worker["since"]
    seconds = ", ".join(f"{stage} {value:.2f} s" for stage, value in worker["last_job_seconds"].items())
    own = (worker[name] for name in ("name", "model", "device", "stage"))
    lasts = "-" if since is None else duration(time.time() - since)
    return *own, lasts, worker["job"] or "-", seconds or "-", worker["last_error"] or "-"

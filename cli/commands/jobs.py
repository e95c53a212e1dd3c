"""``imagegen jobs``: lists, shows, watches, saves and cancels the jobs of a running server, and changes its queues."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cli.client.image_files import output_format, save_images
from cli.errors import UserError
from cli.options import ServerApiKey, ServerUrl
from cli.queues.commands import TIMEOUT_S, JobId, answer, queues
from cli.terminal import cells, duration, moment, progress_bar, say, show_table, terminal
from config.printable import printable
from graphs.requests.output_formats import OUTPUT_FORMATS
from workers.jobs.status import Status

jobs = typer.Typer(
    name="jobs",
    help="List, show, watch, save and cancel the jobs of a running server; see, pause and change its queues.",
    no_args_is_help=True,
)
jobs.add_typer(queues)


_Status = Annotated[Status | None, typer.Option("--status", help="Only jobs with this status.")]
_Limit = Annotated[int, typer.Option("--limit", min=1, help="How many, the newest first.")]
_Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", help="File to write, out.png unless given; further images get a number."),
]
_OutAfter = Annotated[Path | None, typer.Option("-o", "--out", help="File to write once the job is completed.")]
_CANCELLED = {Status.IN_PROGRESS: "stops at its next step", Status.CANCELLED: "cancelled"}


@jobs.command("list")
def list_jobs(status: _Status = None, limit: _Limit = 20, url: ServerUrl = None, api_key: ServerApiKey = None) -> None:
    """List the newest jobs."""
    from cli.queues import calls  # imports httpx2, which the other commands do not need

    found = answer(url, api_key, lambda client: calls.jobs(client, status.value if status else None, limit))
    show_table(_table(found, terminal().is_terminal))


@jobs.command()
def show(job_id: JobId, url: ServerUrl = None, api_key: ServerApiKey = None) -> None:
    """Show the fields of a job that have a value, one on each line."""
    from cli.client.http_client import ServerClient

    with ServerClient(url, api_key, TIMEOUT_S) as client:
        job = client.job(job_id)
    lines = _flat(job)
    width = max((len(name) for name, _ in lines), default=0)
    for name, value in lines:
        say(f"{name:<{width}}  {value}")


@jobs.command()
def save(job_id: JobId, out: _Out = None, url: ServerUrl = None, api_key: ServerApiKey = None) -> None:
    """Save the images of a completed job."""
    from cli.client.http_client import ServerClient

    wanted = None if out is None else output_format(out)
    with ServerClient(url, api_key, TIMEOUT_S) as client:
        result = client.images(job_id)
    drawn = result.get("output_format")
    drawn = drawn if drawn in OUTPUT_FORMATS else "png"
    if wanted not in (None, drawn):
        raise UserError(f"--out {out}: the images of this job are {drawn}; give a name with that ending.")
    for path in save_images(result, out or Path(f"out.{drawn}")):
        say(str(path))


@jobs.command()
def watch(job_id: JobId, out: _OutAfter = None, url: ServerUrl = None, api_key: ServerApiKey = None) -> None:
    """Follow a job to its end, and save its images with --out. Exits with 0 when it is completed, else with 1."""
    from cli.client.http_client import ServerClient

    if out is not None:
        output_format(out)
    event: dict[str, Any] = {}
    with ServerClient(url, api_key, TIMEOUT_S) as client, progress_bar("more") as progress:
        bar = progress.add_task("waiting", total=100, more="")
        for event in client.events(job_id):
            progress.update(bar, **_bar_state(event))
    error = (event.get("job") or {}).get("error") or {}
    say(f"{job_id}: {event['type']}" + (f": {error['message']}" if error else ""))
    if event["type"] != Status.COMPLETED:
        raise typer.Exit(1)
    if out is not None:
        save(job_id, out, url, api_key)


@jobs.command()
def cancel(job_id: JobId, url: ServerUrl = None, api_key: ServerApiKey = None) -> None:
    """Cancel a job: at once while it waits, at its next step while it runs."""
    from cli.client.http_client import ServerClient

    with ServerClient(url, api_key, TIMEOUT_S) as client:
        status = client.cancel(job_id)["status"]
    say(f"{job_id}: {_CANCELLED.get(status, f'is {status} already, and stays so')}")


def _table(found: list[dict[str, Any]], fits_the_width: bool) -> Table:
    table = Table(box=None, pad_edge=False, expand=fits_the_width)
    for column in ("id", "status", "done", "model", "size", "age"):
        table.add_column(column, no_wrap=True, justify="right" if column in ("done", "age") else "left")
    table.add_column("prompt", no_wrap=True, overflow="ellipsis", ratio=1)
    for job in found:
        table.add_row(*cells(_row(job)))
    return table


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    age = duration(time.time() - job["created_at"])
    return job["id"], job["status"], f"{job['progress']} %", job["model"], job["size"], age, job["prompt"]


def _flat(job: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return a job's fields as text, inner ones as ``error.code`` or ``files.0.url``, and none that has no value.

    So is ``usage``: it is there for OpenAI's clients, and its counts of tokens are always 0.
    """
    lines: list[tuple[str, str]] = []
    for name, value in job.items():
        if name == "usage" and not prefix:
            continue
        if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            value = {str(index): entry for index, entry in enumerate(value)}
        if isinstance(value, dict):
            lines += _flat(value, f"{prefix}{name}.")
        elif value is not None and value != []:
            lines.append(
                (f"{prefix}{name}", moment(value) if name.endswith("_at") and _is_time(value) else _text(value))
            )
    return lines


def _text(value: object) -> str:
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return "; ".join(value)
    return value if isinstance(value, str) else json.dumps(value)


def _is_time(value: object) -> bool:
    from cli.client.answers import LATEST_S  # imports httpx2

    return isinstance(value, int | float) and 0 <= value <= LATEST_S


def _bar_state(event: dict[str, Any]) -> dict[str, Any]:
    """Return the changes that an event makes to the progress bar."""
    kind = event["type"]
    if kind == Status.QUEUED:
        return {"description": "queued", "completed": 0, "more": f"{event.get('queue_position') or 0} before it"}
    if kind == "progress":
        steps = f"step {event.get('step')} of {event.get('total_steps')}"
        return {"description": "in progress", "completed": event.get("progress", 0), "more": steps}
    if kind == "preview":
        return {}
    done = {"completed": 100} if kind == Status.COMPLETED else {}
    return {"description": printable(kind.replace("_", " ")), **done}

"""``imagegen doctor``: reports what is wrong with a service, and what to do about it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cli.checks.finding import Finding, Verdict
from cli.options import with_setting_options
from cli.terminal import say, say_lines, terminal
from config.printable import printable, printable_json
from config.settings import Settings

_MARKS = {Verdict.OK: ("✓", "green"), Verdict.NOTE: ("!", "yellow"), Verdict.WRONG: ("✗", "bold red")}


@with_setting_options
def doctor(
    settings: Settings,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check Redis, workers, models, devices and settings; give it the same options as the service to check.

    Exits with 0 when nothing is wrong, else with 1.
    """
    findings = examine(settings)
    is_well = all(finding.verdict is not Verdict.WRONG for finding in findings)
    if as_json:
        report = {"ok": is_well, "findings": [asdict(finding) for finding in findings]}
        say_lines(printable_json(report))
    else:
        _print(findings)
    if not is_well:
        raise typer.Exit(1)


def examine(settings: Settings) -> list[Finding]:
    """Run all checks and return their findings."""
    # Imported here: they import clients for Redis and HTTP, which slow down the start of the other commands.
    from cli.checks.adapters_check import check_adapters
    from cli.checks.machine_check import (
        check_cpus,
        check_devices,
        check_disk,
        check_models,
        check_port,
        check_temporary,
    )
    from cli.checks.redis_check import check_redis
    from cli.checks.settings_check import check_settings
    from cli.checks.workers_check import check_queues, check_workers

    models = check_models(settings)
    graphs = sorted(models.graphs)
    redis = check_redis(settings, graphs)
    served = {worker.graph for worker in redis.diagnostics.workers if worker.ready} if redis.diagnostics else set()
    return [
        *check_settings(settings),
        *models.findings,
        *check_adapters(models.graphs),
        *check_devices(settings, models.graphs, served),
        check_cpus(),
        *redis.findings,
        *(check_workers(redis.diagnostics, models.digests) if redis.diagnostics else ()),
        *(check_queues(redis.diagnostics, settings.jobs) if redis.diagnostics else ()),
        check_port(settings.http),
        check_disk(settings.data_dir),
        *check_temporary(),
    ]


def _print(findings: Sequence[Finding]) -> None:
    console = terminal()
    if not console.is_terminal:
        _print_plain(findings)
        return
    table = Table.grid(padding=(0, 1))
    for finding in findings:
        mark, style = _MARKS[finding.verdict]
        table.add_row(Text(mark, style), finding.area, Text(printable(finding.message)))
        if finding.remedy:
            table.add_row("", "", Text(f"-> {printable(finding.remedy)}", "dim"))
    console.print(table)


def _print_plain(findings: Sequence[Finding]) -> None:
    """Print without a table, for a pipe or a file: every line is as long as its content."""
    for finding in findings:
        say(f"{_MARKS[finding.verdict][0]} {finding.area}: {finding.message}")
        if finding.remedy:
            say(f"  -> {finding.remedy}")

"""Checks of the workers: those of each graph, their crashes and clocks, and the delivery of webhooks."""

from collections import Counter
from collections.abc import Iterator, Mapping

from cli.checks.finding import Finding, note, ok, wrong
from cli.checks.redis_check import CLOCKS_AGREE_S
from config.settings import JobSettings
from graphs.api_keys import ANYONE
from workers.jobs.observe.diagnostics import Diagnostics
from workers.jobs.observe.presence import WorkerPresence, load_failures
from workers.jobs.queue_bounds import queue_bounds

_RECENT_S = 600.0
_MANY_CRASHES = 3
_FILLING = 0.8
_MIB = 2**20


def check_workers(diagnostics: Diagnostics, digests: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the findings about the workers of these graphs; ``digests`` are those of their models here."""
    graphs = digests.keys()
    for graph, digest in digests.items():
        yield _workers(diagnostics, graph, digest)
        yield from _other_models(diagnostics, graph, digest)
        yield from _crashes(diagnostics, graph)
        yield from _resting(diagnostics, graph)
    for worker in diagnostics.workers:
        yield from _clock(worker)
    if diagnostics.other_prefixes:
        prefixes = ", ".join(diagnostics.other_prefixes)
        message = f"Other services have their data in this Redis, with the prefixes {prefixes}."
        yield note("workers", message, "Give doctor the --redis_prefix of the service to check.")
    if others := sorted({worker.graph for worker in diagnostics.workers} - graphs):
        message = f"Workers serve {', '.join(others)} as well, which these settings do not."
        yield note("workers", message, "Run `imagegen doctor` with the API's own options.")
    if diagnostics.overdue_deliveries:
        message = f"{diagnostics.overdue_deliveries} webhooks are overdue: no process delivers them."
        yield wrong("webhooks", message, "Start `imagegen worker --webhooks`.")


def check_queues(diagnostics: Diagnostics, jobs: JobSettings) -> Iterator[Finding]:
    """Yield a finding of how full each queue is, where jobs wait."""
    bounds = queue_bounds(jobs, ANYONE.id)
    for graph, facts in diagnostics.graphs.items():
        share = max(facts.queued / bounds.jobs, facts.queued_bytes / bounds.bytes)
        message = (
            f"{graph}: {facts.queued} of at most {bounds.jobs} jobs wait, with {facts.queued_bytes / _MIB:.1f} of "
            f"{bounds.bytes / _MIB:.0f} MiB ({share:.0%} full)."
        )
        if share >= _FILLING:
            remedy = (
                "A full queue refuses requests with status 429. Start more workers, wait, or raise "
                "IMAGEGEN_JOBS__MAX_QUEUED or IMAGEGEN_JOBS__MAX_QUEUED_BYTES."
            )
            yield note("queue", message, remedy)
        elif facts.queued:
            yield ok("queue", message)


def _workers(diagnostics: Diagnostics, graph: str, digest: str) -> Finding:
    of_graph = [worker for worker in diagnostics.workers if worker.graph == graph]
    live = [worker for worker in of_graph if worker.has_model(digest)]
    ready = Counter(worker.device for worker in live if worker.ready)
    queued = diagnostics.graphs[graph].queued
    waiting = f" {queued} jobs wait." if queued else ""
    if ready:
        by_device = ", ".join(f"{count} on {device}" for device, count in sorted(ready.items()))
        return ok("workers", f"{graph}: ready: {by_device}.{waiting}")
    if (failure := load_failures(live).get(graph)) is not None:
        remedy = "Mend the model's files, or its device; `imagegen serve` starts the worker again by itself."
        return wrong("workers", f"{graph}: its worker cannot load the model: {failure}", remedy)
    if live:
        message = f"{graph}: {len(live)} workers run, and none has loaded its model.{waiting}"
        return wrong("workers", message, "Wait while it loads; if it takes minutes, the worker's log says why.")
    remedy = f"Start `imagegen worker --graph {graph}` with the same REDIS_URL; if it ends again, it says why."
    what = "no worker has the model that is here" if of_graph else "no worker runs"
    return wrong("workers", f"{graph}: {what}.{waiting}", remedy)


def _other_models(diagnostics: Diagnostics, graph: str, digest: str) -> Iterator[Finding]:
    """Yield a finding where workers have different models under one name, or another one than is here."""
    names: dict[str, list[str]] = {}
    for worker in diagnostics.workers:
        if worker.graph == graph and worker.digest and not worker.error:
            names.setdefault(worker.digest, []).append(worker.name)
    if not names.keys() - {digest or next(iter(names), "")}:
        return
    listed = ", ".join(f"{found} of {', '.join(workers)}" for found, workers in sorted(names.items()))
    here = f", and {digest} here" if digest else ""
    yield wrong(
        "workers",
        f"{graph}: its processes have different models under this name. Digests: {listed}{here}.",
        "Each worker draws only the jobs of its own model. Give all the same graph.pbtxt, imagegen.toml and files, and "
        "start them again; or give one service another --redis_prefix.",
    )


def _crashes(diagnostics: Diagnostics, graph: str) -> Iterator[Finding]:
    recent = [ago for ago in diagnostics.graphs[graph].crashed_ago_s if ago < _RECENT_S]
    if not recent:
        return
    message = f"{graph}: workers died {len(recent)} times of a job in the last 10 min, last {min(recent):.0f} s ago."
    remedy = "See the workers' log for the jobs' ids, and the kernel's (dmesg) for lack of memory."
    yield wrong("workers", message, remedy) if len(recent) >= _MANY_CRASHES else note("workers", message, remedy)


def _resting(diagnostics: Diagnostics, graph: str) -> Iterator[Finding]:
    for worker in diagnostics.workers:
        if worker.graph == graph and worker.stage == "resting":
            message = f"{graph}: the worker on {worker.device} rests. {worker.last_error}"
            yield wrong("workers", message, "Do what it says and start the worker again; it also tries by itself.")


def _clock(worker: WorkerPresence) -> Iterator[Finding]:
    if abs(worker.clock_ahead_s) > CLOCKS_AGREE_S:
        message = f"The clock of worker {worker.name} is {worker.clock_ahead_s:+.1f} s from Redis's."
        yield wrong("clock", message, "Synchronise it (NTP): its log's times mislead.")

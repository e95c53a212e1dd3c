"""Checks of Redis: that it answers, keeps jobs on disk, evicts nothing and has memory left."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.checks.finding import Finding, note, ok, wrong
from cli.errors import UserError
from cli.local.embedded_redis import find_binary
from cli.local.redis_address import find_redis
from cli.local.redis_url_check import check_url
from config.settings import RedisSettings, Settings
from graphs.errors import ConfigurationError, ServiceUnavailable
from workers.jobs.observe.diagnostics import Diagnostics, RedisFacts, read_diagnostics
from workers.jobs.redis.connection import other_layout, redis_errors, sentinels_of
from workers.jobs.redis.keys import LAYOUT_VERSION, OLDER_VERSIONS
from workers.jobs.redis.sentinel_address import host_shown
from workers.jobs.redis.sentinel_view import read_sentinel_view

_REDIS = "redis"
_NEARLY_FULL = 0.9
_FILLING = 0.75
CLOCKS_AGREE_S = 2.0


@dataclass(frozen=True)
class RedisReport:
    """The findings about Redis, and the diagnostics read from it; None if it could not be read."""

    findings: list[Finding]
    diagnostics: Diagnostics | None = None


def check_redis(settings: Settings, graphs: Sequence[str]) -> RedisReport:
    """Check the Redis of these settings, else that of a running `imagegen serve` with their data folder."""
    found = find_redis(settings)
    return RedisReport([_none_runs(settings.data_dir)]) if found is None else _check(found, graphs)


def _none_runs(data_dir: Path) -> Finding:
    try:
        binary = find_binary()
    except UserError as error:
        return wrong(_REDIS, "No Redis is set, and none is here to be started.", str(error))
    return note(
        _REDIS,
        f"No Redis is set (REDIS_URL), and no `imagegen serve` runs on {data_dir}.",
        f"Start `imagegen serve`, which starts {binary}; or say where yours is with REDIS_URL or --redis_url.",
    )


def _check(settings: RedisSettings, graphs: Sequence[str]) -> RedisReport:
    try:
        check_url(settings)
        diagnostics = read_diagnostics(settings, graphs)
    except (UserError, ConfigurationError) as error:
        sentence, _, remedy = str(error).partition("; ")
        return RedisReport([wrong(_REDIS, _sentence(sentence), _sentence(remedy or "see its user and password"))])
    except ServiceUnavailable as error:
        return RedisReport([wrong(_REDIS, str(error), "See the log of Redis, and run this again.")])
    findings = [*_findings(diagnostics.redis), *_copies(diagnostics.redis, settings)]
    if not findings:
        findings = [
            ok(_REDIS, f"It answers (version {diagnostics.redis.version}), keeps jobs on disk and evicts nothing.")
        ]
    return RedisReport([*findings, *_sentinels(settings)], diagnostics)


def _sentinels(settings: RedisSettings) -> Iterator[Finding]:
    sentinels = sentinels_of(settings)
    if sentinels is None:
        return
    try:
        with redis_errors():
            view = read_sentinel_view(sentinels)
    except ServiceUnavailable as error:
        yield wrong("sentinels", f"They cannot be asked: {error.reason}", "See their log and their user's rights.")
        return
    trouble, _, remedy = (view.trouble() or "").partition("; ")
    if trouble:
        yield wrong("sentinels", _sentence(trouble), _sentence(remedy))
    elif view.silent:
        silent = ", ".join(map(host_shown, view.silent))
        yield note("sentinels", _sentence(view.summary()), f"Start {silent}, or correct REDIS_URL.")
    else:
        yield ok("sentinels", _sentence(view.summary()))


def _findings(facts: RedisFacts) -> Iterator[Finding]:
    if facts.layout not in (None, str(LAYOUT_VERSION), *OLDER_VERSIONS):
        sentence, _, remedy = other_layout(str(facts.layout)).partition("; nothing was changed. ")
        yield wrong(_REDIS, f"{sentence}.", remedy)
    yield from _persistence(facts)
    yield from _eviction(facts)
    yield from _memory(facts)
    if abs(facts.clock_ahead_s) > CLOCKS_AGREE_S:
        yield wrong(
            "clock",
            f"This machine's clock is {_difference(facts.clock_ahead_s)} Redis's: deadlines (Cancel-After) go wrong.",
            "Synchronise the clocks of both machines (NTP).",
        )


def _copies(facts: RedisFacts, settings: RedisSettings) -> Iterator[Finding]:
    if facts.replicas < settings.wait_replicas:
        yield wrong(
            _REDIS,
            f"It has {facts.replicas} connected replicas and {settings.wait_replicas} must confirm each job: none is "
            "accepted.",
            "Start the replicas, or set IMAGEGEN_REDIS__WAIT_REPLICAS lower.",
        )


def _persistence(facts: RedisFacts) -> Iterator[Finding]:
    remedy = "Set `appendonly yes` (`CONFIG SET appendonly yes`, and in its redis.conf)."
    if not facts.writes_to_disk:
        yield wrong(_REDIS, "It cannot write to its disk.", "See its log, and whether its disk is full.")
    if facts.has_log:
        return
    if facts.save_points == "":
        yield wrong(_REDIS, "It keeps nothing on disk: a restart loses every job.", remedy)
    else:
        yield note(_REDIS, "It keeps snapshots only: a crash loses the jobs accepted since the last one.", remedy)


def _eviction(facts: RedisFacts) -> Iterator[Finding]:
    if facts.policy == "noeviction":
        return
    message = f"When its memory is full it throws jobs and images away (maxmemory-policy {facts.policy})."
    remedy = "Set `maxmemory-policy noeviction`."
    if facts.max_memory_bytes:
        yield wrong(_REDIS, message, remedy)
    else:
        yield note(_REDIS, f"{message} It has no maxmemory now, so that does not happen yet.", remedy)


def _memory(facts: RedisFacts) -> Iterator[Finding]:
    limit = facts.max_memory_bytes or facts.system_memory_bytes
    share = facts.memory_bytes / limit if limit else 0.0
    what = "its maxmemory" if facts.max_memory_bytes else "its machine's memory"
    message = f"It uses {share:.0%} of {what} ({facts.memory_bytes / 2**20:,.0f} of {limit / 2**20:,.0f} MiB)."
    remedy = "Give it more memory, or keep less: IMAGEGEN_JOBS__RESULT_TTL_S, IMAGEGEN_JOBS__MAX_QUEUED."
    if share > _NEARLY_FULL:
        yield wrong(_REDIS, message, remedy)
    elif share > _FILLING:
        yield note(_REDIS, message, remedy)


def _difference(ahead_s: float) -> str:
    return f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."

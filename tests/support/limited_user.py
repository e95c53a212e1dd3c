"""The user of docs/add-workers.md, who may do what the service needs and nothing else."""

from pathlib import Path

from config.settings import RedisSettings
from tests.support.redis_server import RunningRedis

PATTERNS = ["~imagegen:*", "~imagegen.*"]
_PAGE = Path(__file__).parents[2] / "docs" / "add-workers.md"


def documented_line() -> str:
    """Return the line with which the docs make the user."""
    (line,) = [line for line in _PAGE.read_text().splitlines() if line.startswith("ACL SETUSER")]
    return line


def make_user(running: RunningRedis) -> None:
    """Make the user as the docs do, in place of an earlier one with its name."""
    words = documented_line().split()
    with running.client() as behind:
        behind.execute_command("ACL", "DELUSER", words[2])
        behind.execute_command(*words)
        behind.execute_command("ACL", "LOG", "RESET")


def limited(running: RunningRedis) -> RedisSettings:
    """Return how a service connects as this user."""
    _, _, place = (running.settings.url or "").rpartition("@")
    return RedisSettings(url=f"unix://imagegen:PASSWORD@{place}")

"""The check of a Redis URL, with a real server."""

from pathlib import Path

import pytest

from cli.errors import UserError
from cli.local.redis_url_check import check_url
from cli.local.supervisor import Supervisor
from config.settings import RedisSettings
from tests.cli.cli_support import start_redis


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("localhost:6379", "localhost:6379 is not a Redis URL"),
        ("http://localhost", "http://localhost is not a Redis URL"),
        ("redis://127.0.0.1:99999/0", "is not a Redis URL"),
        ("redis://[::1", "is not a Redis URL"),
        ("redis://:secret@127.0.0.1:1/0", r"the Redis at redis://:\*\*\*@127.0.0.1:1/0 does not answer"),
    ],
)
def test_the_error_about_a_bad_url_hides_its_password(url: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as refused:
        check_url(RedisSettings(url=url))
    assert "secret" not in str(refused.value)


def test_a_wrong_password_is_reported(supervisor: Supervisor, tmp_path: Path) -> None:
    server = start_redis(supervisor, tmp_path)
    wrong = "unix://:wrong@" + server.url.rpartition("@")[2]
    with pytest.raises(UserError, match="refuses the user or password"):
        check_url(RedisSettings(url=wrong))

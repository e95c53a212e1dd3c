"""The check of a Redis URL, with a real server."""

import contextlib
import socket
import threading
from pathlib import Path

import pytest

from cli.errors import UserError
from cli.local.redis_url_check import check_url
from cli.local.supervisor import Supervisor
from config.settings import RedisSettings
from graphs.errors import ConfigurationError
from tests.cli.cli_support import start_redis
from workers.jobs.redis.layout import check_layout_at_start


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("localhost:6379", "REDIS_URL is no address of a Redis, such as redis://HOST:6379/0"),
        ("http://localhost", "REDIS_URL is no address of a Redis"),
        ("redis://:secret@127.0.0.1:99999/0", "REDIS_URL is no address of a Redis"),
        ("redis://[::1", "REDIS_URL is no address of a Redis"),
        ("redis://:secret@127.0.0.1:1/0", r"the Redis at redis://:\*\*\*@127.0.0.1:1/0 does not answer"),
    ],
)
def test_the_error_about_a_bad_url_hides_its_password(url: str, sentence: str) -> None:
    with pytest.raises((UserError, ConfigurationError), match=sentence) as refused:
        check_url(RedisSettings(url=url))
    assert "secret" not in str(refused.value)


def test_a_wrong_password_is_reported(supervisor: Supervisor, tmp_path: Path) -> None:
    server = start_redis(supervisor, tmp_path)
    wrong = "unix://:wrong@" + server.url.rpartition("@")[2]
    with pytest.raises(UserError, match="refuses the user or password"):
        check_url(RedisSettings(url=wrong))


@pytest.mark.parametrize(
    "reply", [b"+OK\r\n", b"$-1\r\n", b"*2\r\n:1\r\n:2\r\n", b"$5\r\nhello\r\n", b"HTTP/1.1 400 x\r\n\r\n"]
)
def test_what_answers_in_other_forms_is_no_redis(processes: None, reply: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_answer_all, args=(listening, 50 * reply))
        thread.start()
        settings = RedisSettings(url=f"redis://127.0.0.1:{listening.getsockname()[1]}/0", connect_timeout_s=2)
        with pytest.raises(UserError, match=r"is no Redis|does not answer"):
            check_url(settings)
        with contextlib.suppress(ConfigurationError):
            check_layout_at_start(settings)
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def _answer_all(listening: socket.socket, reply: bytes) -> None:
    """Answer everything with the same bytes, one connection at a time."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(1)
                while connection.recv(65536):
                    connection.sendall(reply)

"""No process can take the place of the Redis that `imagegen serve` starts, and so get its password and the jobs."""

import grp
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import redis

from cli.errors import UserError
from cli.local.embedded_redis import prepare
from cli.local.supervisor import Supervisor
from tests.cli.cli_support import start_redis
from tests.cli.conftest import free_port, supervisor  # noqa: F401 - fixtures
from tests.support.polling import wait_until

OTHER_USER = 65534
_REFUSED = 3
_FAILED = 4
# Listens at an address (a port or a path), and writes into a file that it listens, and what anyone sends.
IMPOSTOR = """
import socket, sys
address, seen = sys.argv[1:]
family = socket.AF_INET if address.isdigit() else socket.AF_UNIX
listening = socket.socket(family)
listening.bind(("127.0.0.1", int(address)) if address.isdigit() else address)
listening.listen()
with open(seen, "ab", buffering=0) as file:
    file.write(b"listens\\n")
    while True:
        connection, _ = listening.accept()
        file.write(b"connected " + connection.recv(4096))
"""


@contextmanager
def impostor(address: str, seen: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-I", "-c", IMPOSTOR, address, str(seen)])
    try:
        wait_until(lambda: seen.exists() and seen.read_bytes() == b"listens\n", "the impostor listens")
        yield
    finally:
        process.kill()
        process.wait()


def test_a_process_that_listens_first_is_not_asked(
    supervisor: Supervisor,  # noqa: F811
    free_port: int,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = tmp_path / "redis"
    folder.mkdir(mode=0o700)
    # As a release before this one left it: the next start would have used this port again.
    (folder / "redis.conf").write_text(f"port {free_port}\nrequirepass hidden123\n")
    with impostor(str(free_port), tmp_path / "port"), impostor(str(folder / "redis.sock"), tmp_path / "socket"):
        server = start_redis(supervisor, tmp_path)
        with redis.Redis.from_url(server.url) as client:
            assert client.info("server")["process_id"] == supervisor.pid("redis")
        assert "hidden123" in server.url
        assert (tmp_path / "port").read_bytes() == (tmp_path / "socket").read_bytes() == b"listens\n"


def as_another_user(act: Callable[[], object]) -> str:
    """Do something in a process of another user, and return how it ended."""
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(OTHER_USER)
        os.setuid(OTHER_USER)
        try:
            act()
        except PermissionError:
            os._exit(_REFUSED)
        except BaseException:  # noqa: BLE001 - the child must not go on with the test
            os._exit(_FAILED)
        os._exit(0)
    return {0: "done", _REFUSED: "refused"}.get(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "failed")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as another user")
def test_another_user_can_neither_enter_nor_replace_the_folder(supervisor: Supervisor) -> None:  # noqa: F811
    with tempfile.TemporaryDirectory(prefix="imagegen-data-") as name:
        data_dir = Path(name)
        data_dir.chmod(0o755)  # as an operator may have made it
        folder = data_dir / "redis"
        start_redis(supervisor, data_dir)
        path = str(folder / "redis.sock")
        attempts: dict[str, Callable[[], object]] = {
            "bind": lambda: socket.socket(socket.AF_UNIX).bind(path),
            "unlink": lambda: os.unlink(path),
            "replace": lambda: folder.rename(data_dir / "moved"),
            "connect": lambda: socket.socket(socket.AF_UNIX).connect(path),
            "read": lambda: (folder / "redis.conf").read_text(),
        }
        assert {name: as_another_user(act) for name, act in attempts.items()} == dict.fromkeys(attempts, "refused")
        assert as_another_user(lambda: data_dir.stat()) == "done"
        supervisor.stop()


def test_a_folder_that_others_can_enter_is_closed(tmp_path: Path, processes: None) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    folder.chmod(0o777)
    server = prepare(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert Path(unquote(urlsplit(server.url).path)).parent == folder


def test_a_folder_that_others_can_replace_is_refused(tmp_path: Path, processes: None) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "redis").symlink_to(elsewhere)
    with pytest.raises(UserError, match="belongs to another user, or is a link"):
        prepare(linked)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(UserError, match="every user of this machine can write to"):
        prepare(shared)
    below = shared / "below"
    below.mkdir()
    with pytest.raises(UserError, match=rf"every user of this machine can write to {shared};"):
        prepare(below)
    shared.chmod(0o1777)  # as /tmp is: no one can replace what others have put there
    assert prepare(shared).url


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("given_away", ["redis", "."])
def test_a_folder_of_another_user_is_refused(tmp_path: Path, processes: None, given_away: str) -> None:
    (tmp_path / "redis").mkdir(mode=0o700)
    os.chown(tmp_path / given_away, OTHER_USER, OTHER_USER)
    with pytest.raises(UserError, match="belongs to another user"):
        prepare(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_below_one_of_another_user_is_refused(tmp_path: Path, processes: None) -> None:
    theirs = tmp_path / "theirs"
    data_dir = theirs / "parent" / "data"
    data_dir.mkdir(parents=True)
    os.chown(theirs, OTHER_USER, OTHER_USER)
    refused = pytest.raises(UserError, match=rf"^{theirs} belongs to another user, who can replace what is in it")
    with refused:
        prepare(data_dir)
    (data_dir / "redis").chmod(0o700)
    with refused:
        prepare(data_dir)
    mine = tmp_path / "mine"
    mine.mkdir()
    (theirs / "link").symlink_to(mine)
    with refused:
        prepare(theirs / "link")
    os.chown(theirs, 0, 0)
    assert prepare(data_dir).url


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_that_a_group_can_replace_is_refused(tmp_path: Path, processes: None) -> None:
    shared = tmp_path / "shared"
    (shared / "data").mkdir(parents=True)
    shared.chmod(0o775)
    assert prepare(shared / "data").url  # the user's own group: no other user is in it
    os.chown(shared, 0, grp.getgrnam("users").gr_gid)
    with pytest.raises(UserError, match=f"^other users of the group users can write to {shared}; chmod it"):
        prepare(shared / "data")
    shared.chmod(0o755)
    assert prepare(shared / "data").url

"""A Redis behind TLS, and sentinels: each connection, Celery's too, checks a certificate before it sends a password."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from kombu.exceptions import OperationalError

from cli.checks.redis_check import check_redis
from cli.errors import UserError
from cli.local.redis_url_check import check_url
from config.settings import RedisSettings, Settings
from tests.support.polling import wait_until
from tests.support.redis_server import running_redis
from tests.support.sentinels import HERE, NAME, Server
from tests.support.service import serving
from tests.support.tls_front import Certificates, TlsFront, tls_before_port, tls_before_socket
from tests.workers.jobs.jobs_support import GRAPH, ended, follow, submit
from workers.jobs.broker import make_celery, wake_worker
from workers.jobs.redis.keys import queue_name
from workers.jobs.redis.layout import check_layout_at_start

pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.make()
    return made


class Front:
    """A Redis behind TLS that wants a certificate of each client."""

    def __init__(self, front: TlsFront, password: str) -> None:
        self.tls = front
        self._password = password

    def url(self, certificates: Certificates, host: str = "localhost", authority: str = "ca", **more: str) -> str:
        query = urlencode({"ssl_ca_certs": certificates.path(f"{authority}.pem"), **more}, safe="/")
        return f"rediss://:{self._password}@{host}:{self.tls.port}/0?{query}"


@pytest.fixture(scope="module")
def front(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with running_redis(tmp_path_factory.mktemp("redis")) as redis:
        address = urlsplit(redis.settings.url or "")
        with tls_before_socket(certificates, address.path) as tls:
            yield Front(tls, address.password or "")


def _own(certificates: Certificates) -> dict[str, str]:
    return {
        "ssl_certfile": str(certificates.path("client.pem")),
        "ssl_keyfile": str(certificates.path("client.key")),
    }


def test_a_service_draws_over_tls_with_a_certificate_of_its_own(
    front: Front, certificates: Certificates, tmp_path: Path
) -> None:
    url = front.url(certificates, **_own(certificates))
    with serving(tmp_path, environment={"REDIS_URL": url, "IMAGEGEN_WORKER__ENGINE": "simulated"}) as service:
        answer = service.http.post("/v3/images/generations", json={"prompt": "a red circle", "size": "128x128"})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("host", "authority"), [("localhost", "other"), ("127.0.0.1", "ca")], ids=["unknown authority", "another name"]
)
def test_a_certificate_that_does_not_fit_gets_no_password(
    front: Front, certificates: Certificates, host: str, authority: str
) -> None:
    settings = RedisSettings(url=front.url(certificates, host, authority, **_own(certificates)))
    front.tls.passed_on.clear()
    with pytest.raises(UserError, match="certificate verify failed"):
        check_url(settings)
    broker = make_celery(Settings(redis=settings)).connection_for_write()
    with broker, pytest.raises(OperationalError, match="certificate verify failed"):
        broker.ensure_connection(max_retries=1, interval_start=0)
    assert front.tls.passed_on == []


def test_without_a_certificate_of_its_own_the_server_refuses(front: Front, certificates: Certificates) -> None:
    with pytest.raises(UserError, match="does not answer"):
        check_url(RedisSettings(url=front.url(certificates)))


_PASSWORD = "servers"
_SERVER = "bind {listens}\nport {port}\ndir {folder}\nrequirepass {password}\nsave ''\n"
# The certificates are for a name: so the sentinel tells one (docs/add-workers.md).
_SENTINEL = """\
bind {listens}
port {port}
dir {folder}
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel monitor {name} localhost {primary_port} 1
sentinel auth-pass {name} {password}
"""


@dataclass(frozen=True)
class Watched:
    """A primary and its sentinel, both behind TLS."""

    primary: TlsFront
    sentinel: TlsFront

    def settings(self, certificates: Certificates, authority: str = "ca") -> RedisSettings:
        query = urlencode({"ssl_ca_certs": certificates.path(f"{authority}.pem")}, safe="/")
        return RedisSettings(url=f"rediss+sentinel://:{_PASSWORD}@localhost:{self.sentinel.port}/{NAME}?{query}")


@pytest.fixture(scope="module")
def watched(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as stack:
        server = Server(folder / "server", HERE, _SERVER, password=_PASSWORD)
        stack.callback(server.kill)
        server.start()
        primary = stack.enter_context(tls_before_port(certificates, server.port, passes_plain=True))
        named = {"name": NAME, "password": _PASSWORD, "primary_port": primary.port}
        sentinel = Server(folder / "sentinel", HERE, _SENTINEL, **named)
        stack.callback(sentinel.kill)
        sentinel.start("--sentinel")
        wait_until(lambda: server.answers(_PASSWORD) and sentinel.answers(""), "both answer")
        yield Watched(primary, stack.enter_context(tls_before_port(certificates, sentinel.port)))


def test_the_primary_is_found_over_tls(watched: Watched, certificates: Certificates, tmp_path: Path) -> None:
    """By the synchronous client, the asynchronous one and Kombu, which reads the message of the job."""
    settings = watched.settings(certificates)
    check_url(settings)
    check_layout_at_start(settings)
    job = submit(settings)
    assert [event.kind for event in follow(settings, ended(settings, job))][-1] == "completed"
    app = make_celery(Settings(redis=settings))
    wake_worker(app, GRAPH)
    with app.connection_for_read() as connection:
        connection.SimpleQueue(queue_name(GRAPH)).get(timeout=10).ack()
    found = check_redis(Settings(redis=settings, data_dir=tmp_path), []).findings
    (finding,) = [one for one in found if one.area == "sentinels"]
    assert "has no replica that is up" in finding.message


def test_a_sentinel_with_another_authority_gets_no_password(watched: Watched, certificates: Certificates) -> None:
    settings = watched.settings(certificates, "other")
    for front in (watched.primary, watched.sentinel):
        front.passed_on.clear()
    with pytest.raises(
        UserError, match=r"no sentinel answers at localhost:\d+ \(.*certificate verify failed.*\); start"
    ):
        check_url(settings)
    broker = make_celery(Settings(redis=settings)).connection_for_write()
    with broker, pytest.raises(OperationalError, match="No master found"):
        broker.ensure_connection(max_retries=1, interval_start=0)
    assert (watched.primary.passed_on, watched.sentinel.passed_on) == ([], [])

"""A Redis behind TLS: every connection, Celery's too, checks its certificate before it sends a password."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX, SHUT_RDWR, create_server, socket
from urllib.parse import urlsplit

import pytest
from kombu.exceptions import OperationalError

from cli.errors import UserError
from cli.local.redis_url_check import check_url
from config.settings import RedisSettings, Settings
from tests.support.redis_server import RunningRedis, running_redis
from tests.support.service import serving
from workers.jobs.broker import make_celery

pytestmark = pytest.mark.usefixtures("processes")


@dataclass(frozen=True)
class Certificates:
    """An authority, a certificate of it for localhost, one for clients, and an authority that signed neither."""

    folder: Path

    def path(self, name: str) -> Path:
        return self.folder / name

    def make(self) -> None:
        for authority in ("ca", "other"):
            self._openssl(f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={authority}", authority, "-out")
        self.sign("server", "localhost", "subjectAltName=DNS:localhost")
        self.sign("client", "worker", "extendedKeyUsage=clientAuth")

    def sign(self, name: str, subject: str, extension: str) -> None:
        extensions = self.path(f"{name}.ext")
        extensions.write_text(extension)
        self._openssl(f"req -newkey rsa:2048 -nodes -subj /CN={subject}", name, "-out", suffix="csr")
        files = {
            "-in": f"{name}.csr",
            "-CA": "ca.pem",
            "-CAkey": "ca.key",
            "-out": f"{name}.pem",
            "-extfile": extensions.name,
        }
        options = [word for option, file in files.items() for word in (option, str(self.path(file)))]
        command = ["openssl", "x509", "-req", "-days", "2", "-CAcreateserial", *options]
        subprocess.run(command, check=True, capture_output=True)

    def _openssl(self, arguments: str, name: str, out: str, suffix: str = "pem") -> None:
        files = ["-keyout", str(self.path(f"{name}.key")), out, str(self.path(f"{name}.{suffix}"))]
        subprocess.run(["openssl", *arguments.split(), *files], check=True, capture_output=True)


class TlsFront:
    """Takes TLS connections with clients' certificates on a port, and passes what comes on to Redis's socket."""

    def __init__(self, certificates: Certificates, redis: RunningRedis) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.path("ca.pem")))
        self._context.load_cert_chain(certificates.path("server.pem"), certificates.path("server.key"))
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._redis = urlsplit(redis.settings.url or "")
        self._listening = create_server(("127.0.0.1", 0))
        self.refused = 0
        self.passed_on: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, certificates: Certificates, host: str = "localhost", authority: str = "ca", **more: str) -> str:
        given = {"ssl_ca_certs": certificates.path(f"{authority}.pem"), **more}
        query = "&".join(f"{name}={value}" for name, value in given.items())
        return f"rediss://:{self._redis.password}@{host}:{self._listening.getsockname()[1]}/0?{query}"

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket) -> None:
        try:
            client = self._context.wrap_socket(plain, server_side=True)
            client.do_handshake()
        except OSError:
            self.refused += 1
            plain.close()
            return
        redis = socket(AF_UNIX)
        redis.connect(self._redis.path)
        threading.Thread(target=_copy, args=(redis, client, None), daemon=True).start()
        _copy(client, redis, self.passed_on)


def _copy(source: socket, target: socket, seen: list[bytes] | None) -> None:
    with source, suppress(OSError):  # the other direction has closed its end
        while data := source.recv(65536):
            if seen is not None:
                seen.append(data)
            target.sendall(data)
        target.shutdown(SHUT_RDWR)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.make()
    return made


@pytest.fixture(scope="module")
def front(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsFront]:
    with running_redis(tmp_path_factory.mktemp("redis")) as redis:
        front = TlsFront(certificates, redis)
        yield front
        front.close()


def _own(certificates: Certificates) -> dict[str, str]:
    return {
        "ssl_certfile": str(certificates.path("client.pem")),
        "ssl_keyfile": str(certificates.path("client.key")),
    }


def test_a_service_draws_over_tls_with_a_certificate_of_its_own(
    front: TlsFront, certificates: Certificates, tmp_path: Path
) -> None:
    url = front.url(certificates, **_own(certificates))
    with serving(tmp_path, environment={"REDIS_URL": url, "IMAGEGEN_WORKER__ENGINE": "simulated"}) as service:
        answer = service.http.post("/v3/images/generations", json={"prompt": "a red circle", "size": "128x128"})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("host", "authority"), [("localhost", "other"), ("127.0.0.1", "ca")], ids=["unknown authority", "another name"]
)
def test_a_certificate_that_does_not_fit_gets_no_password(
    front: TlsFront, certificates: Certificates, host: str, authority: str
) -> None:
    settings = RedisSettings(url=front.url(certificates, host, authority, **_own(certificates)))
    front.passed_on.clear()
    with pytest.raises(UserError, match="certificate verify failed"):
        check_url(settings)
    broker = make_celery(Settings(redis=settings)).connection_for_write()
    with broker, pytest.raises(OperationalError, match="certificate verify failed"):
        broker.ensure_connection(max_retries=1)
    assert front.passed_on == []


def test_without_a_certificate_of_its_own_the_server_refuses(front: TlsFront, certificates: Certificates) -> None:
    with pytest.raises(UserError, match="does not answer"):
        check_url(RedisSettings(url=front.url(certificates)))

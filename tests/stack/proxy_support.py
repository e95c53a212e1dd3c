"""Runs nginx and Caddy as they are documented: with the configurations of docs/proxies.md, as ordinary processes."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.support.polling import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "proxies.md"
PATH = "/images-api"
PREFIX_LINES = re.compile(r"^.*X-Forwarded-Prefix.*\n", re.MULTILINE)
_NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{servers}
}}
"""
_NGINX_SERVER = """\
    server {{
        listen 127.0.0.1:{port};
{location}
    }}
"""


def documented(kind: str) -> str:
    """Return the configuration of a proxy as the page shows it."""
    (block,) = re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    return str(block)


def nginx(folder: Path, upstreams: Mapping[int, tuple[str, bool]]) -> tuple[list[str], dict[str, str]]:
    """Write nginx's configuration and return its command and environment.

    ``upstreams``: for each port to listen on the address of a service, and whether X-Forwarded-Prefix is sent there.
    """
    servers = "".join(
        _NGINX_SERVER.format(port=port, location=_changed(documented("nginx"), service, has_prefix=has_prefix))
        for port, (service, has_prefix) in upstreams.items()
    )
    # As root, nginx would become another user, who may not read the folders of tests.
    user = "user root root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, servers=servers, user=user))
    return [program("nginx", "nginx-light"), "-e", str(folder / "error.log"), "-c", str(config)], {}


def caddy(folder: Path, upstreams: Mapping[int, tuple[str, bool]]) -> tuple[list[str], dict[str, str]]:
    """Write Caddy's configuration and return its command and environment. ``upstreams`` are as for nginx."""
    sites = "".join(
        _changed(documented("caddy"), service, has_prefix=has_prefix).replace(
            "images.example.com", f"http://127.0.0.1:{port}"
        )
        for port, (service, has_prefix) in upstreams.items()
    )
    config = folder / "Caddyfile"
    config.write_text("{\n    admin off\n    auto_https off\n}\n" + sites)
    command = [program("caddy", "caddy"), "run", "--adapter", "caddyfile", "--config", str(config)]
    return command, {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}


@contextmanager
def running(command: list[str], environment: Mapping[str, str], log: Path, url: str) -> Iterator[None]:
    """Run a proxy until the block ends; it is ready once the service answers through it at ``url``."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})
    try:
        wait_until(lambda: _is_ready(process, url, log), f"the proxy; see {log}")
        yield
    finally:
        process.terminate()
        process.wait(20)


def _is_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> bool:
    assert process.poll() is None, f"the proxy ended:\n{log.read_text()}"
    try:
        return httpx2.get(f"{url}/v2/health/ready").status_code == 200
    except httpx2.TransportError:
        return False


def _changed(text: str, service: str, *, has_prefix: bool) -> str:
    """Return a documented configuration for another address, without the lines of X-Forwarded-Prefix if asked."""
    assert text.count("127.0.0.1:8000") == 1
    changed = text.replace("127.0.0.1:8000", service)
    if has_prefix:
        return changed
    without, count = PREFIX_LINES.subn("", changed)
    assert count == 1
    return without


def program(name: str, package: str) -> str:
    """Return the path of a proxy. Fails the test where there is none: a skip would hide that nothing was tested."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.fail(f"{name} is not on this machine; these tests run it: apt-get install {package}")
    return found

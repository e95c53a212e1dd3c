"""compose.yaml and the Dockerfiles, as far as they can be checked without an engine to build them."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
import typer
import typer.main
import yaml

from cli.local.embedded_redis import find_binary
from cli.local.redis_url_check import answers
from cli.main import app
from config.environment import load_settings
from config.http_settings import ConnectionSettings, HttpSettings
from config.settings import JobSettings, WorkerSettings
from graphs.api_keys import read_keys
from tests.cli.cli_support import ROOT
from tests.support.polling import wait_until
from workers.jobs.queue_bounds import FIXED_BYTES, queue_memory_bytes

DOCKERFILES = [ROOT / "docker" / "api.Dockerfile", ROOT / "docker" / "worker.Dockerfile"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("api", "worker", "webhooks")
DIGEST = re.compile(r"[\w./:-]+@sha256:[0-9a-f]{64}")


def parse(args: list[str]) -> dict[str, Any]:
    """Parse arguments as the command line does, without running anything; return the subcommand's options."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    with group.make_context("imagegen", list(args)) as context:
        name, command, rest = group.resolve_command(context, list(args))
        assert command is not None and name == args[0]
        with command.make_context(name, rest, parent=context) as inner:
            return dict(inner.params)


def instruction(dockerfile: Path, name: str) -> list[str]:
    """Return the JSON form of a Dockerfile's (only) instruction."""
    found = re.findall(rf"^{name} (\[.*\])$", dockerfile.read_text(), re.MULTILINE)
    assert len(found) == 1
    words: list[str] = json.loads(found[0])
    return words


def interpolated(text: str) -> str:
    """Return a value as Compose hands it on where .env has only what must be there."""
    text = re.sub(r"\$\{\w+:\?[^}]+\}", "given", text)
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).replace("$$", "$")


def size_bytes(text: str) -> int:
    """Return a size as Compose and Redis write it, such as 2g or 2gb."""
    match = re.fullmatch(r"(\d+)(m|g)b?", interpolated(text))
    assert match, text
    return int(match[1]) * {"m": 2**20, "g": 2**30}[match[2]]


def redis_settings() -> dict[str, str]:
    lines = (ROOT / "docker" / "redis.conf").read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


def seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)s", text)
    assert match
    return float(match[1])


def test_an_unknown_option_would_be_noticed() -> None:
    with pytest.raises(typer.TyperException, match="No such option"):
        parse(["api", "--rest_prot=1"])


@pytest.mark.parametrize("service", ["api", "worker"])
def test_the_services_commands_are_the_command_lines(service: str) -> None:
    command = SERVICES[service]["command"]
    assert command[0] == service
    assert parse(command)["model_repository_path"] == Path("/models")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_the_images_commands_are_the_command_lines(dockerfile: Path) -> None:
    assert instruction(dockerfile, "ENTRYPOINT") == ["python", "-m", "cli"]
    command = instruction(dockerfile, "CMD")
    assert command[0] == dockerfile.stem
    parse(command)


def test_the_api_is_reached_from_this_machine_only() -> None:
    options = parse(SERVICES["api"]["command"])
    assert SERVICES["api"]["ports"] == [f"127.0.0.1:8000:{options['rest_port']}"]
    assert options["rest_bind_address"] == "0.0.0.0"
    assert "ports" not in SERVICES["redis"]


def test_the_worker_can_be_scaled() -> None:
    assert not {"container_name", "ports", "hostname"} & set(SERVICES["worker"])


def test_the_services_settings_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in OURS:
        for name, value in SERVICES[service]["environment"].items():
            assert name in ("REDIS_URL", "HOME") or name.startswith("IMAGEGEN_")
            monkeypatch.setenv(name, interpolated(value))
    settings = load_settings()
    assert (settings.log.level, settings.redis.url) == ("INFO", "redis://:given@redis:6379/0")
    assert read_keys(settings.http.api_key_file, settings.http.api_key).is_open


def test_redis_is_durable_and_evicts_nothing() -> None:
    volumes = dict(volume.split(":")[:2] for volume in SERVICES["redis"]["volumes"])
    assert f"cat {volumes['./docker/redis.conf']};" in SERVICES["redis"]["command"][-1]
    settings = redis_settings()
    assert settings["dir"] == volumes["redis-data"]
    assert "redis-data" in COMPOSE["volumes"]
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": '""'}
    assert {name: settings[name] for name in wanted} == wanted


@pytest.mark.parametrize("service", ["api", "worker"])
def test_redis_is_there_first_and_stopping_has_its_time(service: str) -> None:
    assert SERVICES[service]["depends_on"]["redis"]["condition"] == "service_healthy"
    assert "healthcheck" in SERVICES["redis"]
    limits_s = {"api": HttpSettings().shutdown_timeout_s, "worker": WorkerSettings().shutdown_timeout_s}
    graceful = limits_s[service]
    assert seconds(SERVICES[service]["stop_grace_period"]) > graceful + 10


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_what_the_images_copy_exists_and_is_sent(dockerfile: Path) -> None:
    service = SERVICES[dockerfile.stem]
    assert ROOT / service["build"]["dockerfile"] == dockerfile
    text = dockerfile.read_text()
    sources = re.findall(r"^COPY (\S+) \S+$", text, re.MULTILINE)
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(Path(source).match(pattern) for pattern in allowed), source
    assert "--require-hashes" in text
    assert re.search(r"^USER [1-9]\d+$", text, re.MULTILINE)
    (base,) = re.findall(r"^FROM (\S+)$", text, re.MULTILINE)
    assert DIGEST.fullmatch(base)


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_more_rights_and_memory_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & set(service)
    (memory,) = service["tmpfs"]
    place, _, options = memory.partition(":")
    assert place == "/tmp"
    assert {"noexec", "nosuid", "nodev", "mode=1777"} < set(options.split(","))
    (size,) = (option for option in options.split(",") if option.startswith("size="))
    assert size_bytes(size.removeprefix("size=")) < size_bytes(service["mem_limit"])
    written = [volume.split(":")[0] for volume in service.get("volumes", ()) if not volume.endswith(":ro")]
    assert set(written) <= set(COMPOSE["volumes"])
    assert service.get("user", "999:999") == "999:999"
    assert DIGEST.fullmatch(service["image"]) if "image" in service else "build" in service


def test_the_api_has_room_for_the_bodies_that_come() -> None:
    (memory,) = SERVICES["api"]["tmpfs"]
    size = re.search(r"size=(\w+)", memory)
    assert size
    assert size_bytes(size[1]) > ConnectionSettings().max_bodies_bytes
    assert size_bytes(SERVICES["api"]["mem_limit"]) > 2 * size_bytes(size[1])


def test_redis_has_room_for_full_queues_and_its_limit_room_for_a_rewrite() -> None:
    max_memory_bytes = size_bytes(SERVICES["redis"]["environment"]["MAXMEMORY"])
    assert max_memory_bytes > queue_memory_bytes(JobSettings(), graphs=1, workers=2) + FIXED_BYTES
    assert size_bytes(SERVICES["redis"]["mem_limit"]) >= 1.5 * max_memory_bytes


def test_the_password_must_be_given_and_stands_in_no_command() -> None:
    for service, name in [("redis", "REDISCLI_AUTH"), *((ours, "REDIS_URL") for ours in OURS)]:
        assert "${REDIS_PASSWORD:?" in SERVICES[service]["environment"][name]
    commands = " ".join(word for service in SERVICES.values() for word in service["command"])
    assert "PASSWORD" not in commands
    assert "REDIS_URL" not in commands
    assert "requirepass" not in redis_settings()
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_command_of_redis_starts_it_with_password_and_maxmemory(
    tmp_path: Path, redis_processes: None, processes: None
) -> None:
    (tmp_path / "valkey-server").symlink_to(find_binary())
    socket = tmp_path / "s"
    base = tmp_path / "base.conf"
    text = (ROOT / "docker" / "redis.conf").read_text().replace("port 6379", f"port 0\nunixsocket {socket}")
    base.write_text(text.replace("dir /data", f"dir {tmp_path}"))
    shell, option, script = map(interpolated, SERVICES["redis"]["command"])
    script = script.replace("/etc/valkey/valkey.conf", str(base)).replace("/tmp/valkey.conf", str(tmp_path / "conf"))
    given = {name: interpolated(value) for name, value in SERVICES["redis"]["environment"].items()}
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **given}
    with subprocess.Popen([shell, option, script], env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: answers(f"unix://:given@{socket}"), "it answers with the password")
            with redis.Redis.from_url(f"unix://{socket}") as stranger, pytest.raises(redis.AuthenticationError):
                stranger.ping()
            with redis.Redis.from_url(f"unix://:given@{socket}", decode_responses=True) as client:
                facts: Any = client.info("server")
                limits: Any = client.config_get("maxmemory*")
            assert facts["process_id"] == process.pid  # so it gets the signal to stop
            assert (limits["maxmemory"], limits["maxmemory-policy"]) == (str(2 * 2**30), "noeviction")
            assert b"given" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
            assert stat.S_IMODE((tmp_path / "conf").stat().st_mode) == 0o600
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()

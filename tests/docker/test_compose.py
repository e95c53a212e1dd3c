"""compose.yaml and the Dockerfiles, as far as they can be checked without an engine to build them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
import yaml

from cli.main import app
from config.http_settings import HttpSettings
from config.settings import Settings, WorkerSettings
from tests.cli.cli_support import ROOT

DOCKERFILES = [ROOT / "docker" / "api.Dockerfile", ROOT / "docker" / "worker.Dockerfile"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


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


def seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)s", text)
    assert match
    return float(match[1])


def test_an_unknown_option_would_be_noticed() -> None:
    with pytest.raises(typer.TyperException, match="No such option"):
        parse(["api", "--rest-port=1"])


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
    for service in ("api", "worker"):
        for name, value in SERVICES[service]["environment"].items():
            assert name == "REDIS_URL" or name.startswith("IMAGEGEN_")
            monkeypatch.setenv(name, re.sub(r"\$\{\w+:-(\w*)\}", r"\1", value))
    assert Settings().log.level == "INFO"


def test_redis_is_durable_and_evicts_nothing() -> None:
    volumes = dict(volume.split(":")[:2] for volume in SERVICES["redis"]["volumes"])
    assert SERVICES["redis"]["command"][-1] == volumes["./docker/redis.conf"]
    lines = (ROOT / "docker" / "redis.conf").read_text().splitlines()
    settings = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
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
    assert re.search(r"^USER (?!root)\w+$", text, re.MULTILINE)

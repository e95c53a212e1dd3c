"""`imagegen worker --webhooks`, and that `imagegen serve` starts one if webhooks can be signed."""

import sys
from pathlib import Path

import pytest

from cli.commands.worker import worker_command
from cli.errors import UserError
from cli.local.local_service import LocalService
from cli.local.stop_signals import StopSignals
from cli.local.supervisor import ChildSpec, Supervisor
from cli.main import app
from config.settings import RedisSettings, Settings, WebhookSettings
from graphs.repository.bundled import load_served


def test_without_a_secret_there_is_no_such_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGEGEN_WEBHOOKS__SECRET", raising=False)
    with pytest.raises(UserError, match="IMAGEGEN_WEBHOOKS__SECRET"):
        app(["worker", "--webhooks", "--redis_url", "redis://nowhere"], standalone_mode=False)


def test_its_command_has_no_option_of_celery() -> None:
    assert worker_command("webhooks") == [sys.executable, "-P", "-m", "workers.start", "webhooks"]


@pytest.mark.parametrize(
    ("secret", "started"), [(None, False), ("", False), ("whsec_c2VjcmV0IG9mIHRoaXMgdGVzdCwgMzIgYnl0ZXM=", True)]
)
def test_serve_starts_one_if_webhooks_can_be_signed(
    secret: str | None, started: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    specs: list[ChildSpec] = []
    monkeypatch.setattr(Supervisor, "start", lambda _, spec: specs.append(spec))
    settings = Settings(
        redis=RedisSettings(url="redis://nowhere"), webhooks=WebhookSettings(secret=secret), data_dir=tmp_path
    )
    with StopSignals() as signals:
        LocalService(settings, load_served(), 0, signals)._start_the_rest()
    names = [spec.name for spec in specs]
    assert names == ["worker demo", *(["webhooks"] if started else []), "api"]
    if started:
        assert specs[1].command[-2:] == ["worker", "--webhooks"]
        assert specs[1].environment["IMAGEGEN_WEBHOOKS__SECRET"] == secret

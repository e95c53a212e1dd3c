"""Settings that stay: a file of variables in the data folder, or the one of --env_file."""

import inspect
from pathlib import Path

import pytest

from cli.options import with_setting_options
from config.settings import Settings
from tests.cli.cli_support import imagegen_here


def _settings(monkeypatch: pytest.MonkeyPatch, **options: object) -> Settings:
    """Return the settings that a command gets with these options."""
    found: list[Settings] = []

    def serve(settings: Settings) -> None:
        """Take note of the settings."""
        found.append(settings)

    monkeypatch.setenv("IMAGEGEN_LOG__LEVEL", "ERROR")
    # Restores the environment after the test: what a file sets stays in the process.
    for name in ("IMAGEGEN_HTTP__REST_PORT", "IMAGEGEN_JOBS__MAX_QUEUED", "REDIS_URL", "CELERY_BROKER_URL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    command = with_setting_options(serve)
    command(**{**dict.fromkeys(inspect.signature(command).parameters), **options})
    return found[0]


def _written(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def test_the_file_in_the_data_folder_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _written(tmp_path / ".env", "# settings", "IMAGEGEN_HTTP__REST_PORT=8123", "export REDIS_URL='redis://example:1/2'")
    settings = _settings(monkeypatch, data_dir=tmp_path)
    assert (settings.http.rest_port, settings.redis.url) == (8123, "redis://example:1/2")
    monkeypatch.setenv("IMAGEGEN_DATA_DIR", str(tmp_path))
    assert _settings(monkeypatch).http.rest_port == 8123


def test_a_named_file_takes_its_place_and_options_and_environment_win(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _written(tmp_path / ".env", "IMAGEGEN_JOBS__MAX_QUEUED=7")
    lines = ("IMAGEGEN_HTTP__REST_PORT=8123", "IMAGEGEN_LOG__LEVEL=DEBUG", "CELERY_BROKER_URL=redis://stranger")
    named = _written(tmp_path / "own.env", *lines)
    settings = _settings(monkeypatch, data_dir=tmp_path, env_file=named, rest_port=9000)
    assert (settings.http.rest_port, settings.log.level) == (9000, "ERROR")
    assert settings.jobs.max_queued != 7


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("IMAGEGEN_HTTP__REST_PORT", "line 2: a line must be NAME=value"),
        ("=8000", "line 2: a line must be NAME=value"),
        ("IMAGEGEN_HTTP_REST_PORT=8000", "did you mean IMAGEGEN_HTTP__REST_PORT?"),
    ],
)
def test_a_wrong_line_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, sentence: str
) -> None:
    monkeypatch.setenv("IMAGEGEN_HTTP_REST_PORT", "")
    monkeypatch.delenv("IMAGEGEN_HTTP_REST_PORT")
    named = _written(tmp_path / "own.env", "# first", line)
    assert imagegen_here("doctor", "--env_file", str(named)) == 2
    assert sentence in capfd.readouterr().err


def test_a_named_file_must_exist(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert imagegen_here("doctor", "--env_file", str(tmp_path / "nothing.env")) == 2
    assert "nothing.env cannot be read" in capfd.readouterr().err

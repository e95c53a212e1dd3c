from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.environment import SettingsError, load_settings, settings_environment
from config.settings import Settings, default_data_dir


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment without settings."""
    for name in settings_environment_names():
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch


def settings_environment_names() -> list[str]:
    return [
        "REDIS_URL",
        "API_KEY",
        *("HOST", "PORT"),
        *(name for name in settings_environment(Settings()) if name.startswith("IMAGEGEN_")),
    ]


def test_the_defaults_are_safe() -> None:
    settings = load_settings()
    assert (settings.http.rest_bind_address, settings.http.rest_port) == ("127.0.0.1", 8000)
    assert settings.redis.url is None
    assert settings.jobs.max_attempts == 3


@pytest.mark.parametrize(
    ("name", "text", "group", "field", "value"),
    [
        ("IMAGEGEN_HTTP__REST_PORT", "9000", "http", "rest_port", 9000),
        ("imagegen_http__rest_port", "9000", "http", "rest_port", 9000),
        ("IMAGEGEN_REDIS__URL", "redis://a:1/0", "redis", "url", "redis://a:1/0"),
        ("REDIS_URL", "redis://b:1/0", "redis", "url", "redis://b:1/0"),
        ("IMAGEGEN_JOBS__STEP_GRACE_S", "7", "jobs", "step_grace_s", 7.0),
        ("IMAGEGEN_JOBS__TIME_LIMIT_GRACE_S", "7", "jobs", "step_grace_s", 7.0),
        ("IMAGEGEN_JOBS__LEASE_S", "2.5", "jobs", "lease_s", 2.5),
        ("IMAGEGEN_REPOSITORY__MODEL_PATH", "/a b/ж", "repository", "model_path", Path("/a b/ж")),
        ("IMAGEGEN_REPOSITORY__MODEL_NAME", "123", "repository", "model_name", "123"),
        ("IMAGEGEN_WORKER__DEVICE", "CPU GPU NPU", "worker", "device", "CPU GPU NPU"),
        ("IMAGEGEN_LOG__LEVEL", "DEBUG", "log", "level", "DEBUG"),
    ],
)
def test_the_environment_is_read(
    environment: pytest.MonkeyPatch, name: str, text: str, group: str, field: str, value: Any
) -> None:
    environment.setenv(name, text)
    assert getattr(getattr(load_settings(), group), field) == value


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({"PORT": "9000"}, ("127.0.0.1", 9000)),
        ({"PORT": "9000", "HOST": "0.0.0.0"}, ("0.0.0.0", 9000)),
        ({"PORT": "9000", "HOST": "::"}, ("::", 9000)),
        ({"PORT": "9000", "HOST": "my-laptop"}, ("127.0.0.1", 9000)),
        ({"HOST": "0.0.0.0"}, ("127.0.0.1", 8000)),
        ({"PORT": "9000", "IMAGEGEN_HTTP__REST_PORT": "9001"}, ("127.0.0.1", 9001)),
        ({"PORT": ""}, ("127.0.0.1", 8000)),
    ],
)
def test_the_address_of_a_platform_is_read(
    environment: pytest.MonkeyPatch, variables: dict[str, str], address: tuple[str, int]
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    http = load_settings().http
    assert (http.rest_bind_address, http.rest_port) == address


def test_one_variable_leaves_the_rest_of_its_group(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("IMAGEGEN_HTTP__REST_PORT", "9000")
    settings = load_settings(http={"rest_bind_address": "0.0.0.0"})
    assert (settings.http.rest_port, settings.http.rest_bind_address) == (9000, "0.0.0.0")


def test_an_override_wins_and_none_is_not_one(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("IMAGEGEN_HTTP__REST_PORT", "9000")
    assert load_settings(http={"rest_port": 9001}).http.rest_port == 9001
    assert load_settings(http={"rest_port": None}).http.rest_port == 9000
    assert load_settings(http={}, data_dir=None).http.rest_port == 9000


def test_our_own_variable_of_the_redis_url_wins(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REDIS_URL", "redis://plain")
    assert load_settings(redis={"timeout_s": 1.0}).redis.url == "redis://plain"
    environment.setenv("IMAGEGEN_REDIS__URL", "redis://own")
    assert load_settings().redis.url == "redis://own"
    assert load_settings(redis={"url": "redis://typed"}).redis.url == "redis://typed"


def test_our_own_variable_of_the_api_key_wins(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("API_KEY", "")
    assert load_settings().http.api_key is None
    environment.setenv("API_KEY", "plain")
    assert load_settings(http={"rest_port": 1}).http.api_key == "plain"
    environment.setenv("IMAGEGEN_HTTP__API_KEY", "own")
    assert load_settings().http.api_key == "own"
    assert load_settings(http={"api_key": "typed"}).http.api_key == "typed"


def test_an_empty_redis_url_is_none(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REDIS_URL", "")
    assert load_settings().redis.url is None


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("IMAGEGEN_HTTP__REST_PORT", "0", "setting IMAGEGEN_HTTP__REST_PORT: Input should be greater than"),
        ("IMAGEGEN_HTTP__REST_PORT", "x", "setting IMAGEGEN_HTTP__REST_PORT: Input should be a valid integer"),
        (
            "IMAGEGEN_HTTP__REST_PROT",
            "1",
            "setting IMAGEGEN_HTTP__REST_PROT: there is no such setting; did you mean IMAGEGEN_HTTP__REST_PORT?",
        ),
        ("IMAGEGEN_JOBS__LEASE_S", "1", "setting IMAGEGEN_JOBS__LEASE_S: Input should be greater than 1"),
        (
            "IMAGEGEN_REDIS__CONNECT_TIMEOUT_S",
            "0",
            "setting IMAGEGEN_REDIS__CONNECT_TIMEOUT_S: Input should be greater",
        ),
        ("IMAGEGEN_REDIS__TIMEOUT_S", "-1", "setting IMAGEGEN_REDIS__TIMEOUT_S: Input should be greater than 0"),
        ("IMAGEGEN_REDIS__API_TIMEOUT_S", "0", "setting IMAGEGEN_REDIS__API_TIMEOUT_S: Input should be greater than 0"),
        ("IMAGEGEN_LOG__LEVEL", "LOUD", "setting IMAGEGEN_LOG__LEVEL: Input should be 'DEBUG'"),
        ("IMAGEGEN_WORKER__ENGINE", "magic", "setting IMAGEGEN_WORKER__ENGINE: "),
    ],
)
def test_a_wrong_setting_is_reported_by_its_name(
    environment: pytest.MonkeyPatch, name: str, text: str, sentence: str
) -> None:
    environment.setenv(name, text)
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert str(refusal.value).startswith(sentence)
    assert "\n" not in str(refusal.value)


def test_every_wrong_setting_is_reported(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("IMAGEGEN_HTTP__REST_PORT", "0")
    environment.setenv("IMAGEGEN_JOBS__MAX_QUEUED", "0")
    with pytest.raises(SettingsError, match=r"REST_PORT: .*; setting IMAGEGEN_JOBS__MAX_QUEUED: "):
        load_settings()


@pytest.mark.parametrize("group", ["nothing", "https"])
def test_an_unknown_group_is_refused(group: str) -> None:
    with pytest.raises(SettingsError, match=f"setting IMAGEGEN_{group.upper()}: there is no such setting"):
        load_settings(**{group: {"rest_port": 1}})


def test_an_unknown_group_in_the_environment_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("IMAGEGEN_HTPP__REST_PORT", "1")
    with pytest.raises(SettingsError, match="setting IMAGEGEN_HTPP__REST_PORT: there is no such group"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("IMAGEGEN_HTTP_REST_PORT", "IMAGEGEN_HTTP__REST_PORT"),
        ("IMAGEGEN_REST_PORT", "IMAGEGEN_HTTP__REST_PORT"),
        ("IMAGEGEN_DATADIR", "IMAGEGEN_DATA_DIR"),
        ("IMAGEGEN_WORKER_TARGET", None),
        ("IMAGEGEN_WEBHOOK__SECRET", "IMAGEGEN_WEBHOOKS__SECRET"),
    ],
)
def test_a_near_miss_is_answered_with_the_right_name(
    environment: pytest.MonkeyPatch, name: str, meant: str | None
) -> None:
    environment.setenv(name, "1")
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert str(refusal.value).endswith(f"did you mean {meant}?") == (meant is not None)


def test_an_unknown_name_in_a_group_is_refused() -> None:
    with pytest.raises(SettingsError, match="setting IMAGEGEN_HTTP__PORT: there is no such setting"):
        load_settings(http={"port": 1})


SECRETS: dict[str, dict[str, str]] = {
    "redis": {"url": "redis://:hidden@host:6379/0"},
    "http": {"api_key": "hidden"},
    "webhooks": {"secret": "hidden-from-every-line-of-output"},
    "downloads": {"hf_token": "hidden"},
}


@pytest.mark.parametrize("group", SECRETS)
def test_a_secret_is_not_shown(group: str) -> None:
    settings = load_settings(**{group: SECRETS[group]})
    assert set(SECRETS[group].items()) <= set(getattr(settings, group).model_dump().items())
    for shown in (repr(settings), str(settings), repr(getattr(settings, group))):
        assert "hidden" not in shown


CHANGED: list[dict[str, Any]] = [
    {},
    {"redis": {"url": "redis://:p%40ss@host:6379/0?a=b", "timeout_s": 0.1}},
    {"http": {"rest_port": 1, "public_url": "https://x/y", "max_body_bytes": 10**12}},
    {"repository": {"model_path": Path("/a b"), "model_name": "null", "target_device": "GPU.1"}},
    {"repository": {"config_path": Path("c.json")}, "worker": {"graph": '{"a": 1}', "engine": "simulated"}},
    {"http": {"api_key": "k", "api_key_file": Path("/k"), "cancel_on_disconnect": False, "heartbeat_s": 0.5}},
    {"jobs": {"lease_s": 1.001}, "log": {"level": "ERROR"}, "data_dir": Path("/data")},
    {"worker": {"graph": "a/b", "device": "CPU GPU NPU", "simulated_step_s": 1e-9}},
    {"worker": {"device_map": "GPU=CPU,NPU=CPU"}},
]


@pytest.mark.parametrize("changed", CHANGED, ids=str)
def test_a_child_reads_the_same_settings_from_its_environment(
    environment: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    settings = load_settings(**changed)
    environment.setenv("REDIS_URL", "redis://elsewhere")
    environment.setenv("IMAGEGEN_HTTP__SHUTDOWN_TIMEOUT_S", "7")
    handed_on = settings_environment(settings)
    for name in settings_environment_names():
        environment.delenv(name, raising=False)
    for name, text in handed_on.items():
        environment.setenv(name, text)
    assert load_settings() == settings


def test_a_childs_environment_keeps_variables_of_others(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LANG", "C.UTF-8")
    settings = load_settings()
    environment.setenv("IMAGEGEN_OLD", "x")
    handed_on = settings_environment(settings)
    assert handed_on["LANG"] == "C.UTF-8"
    assert "IMAGEGEN_OLD" not in handed_on


def test_the_data_folder_follows_the_xdg_specification(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_dir() == load_settings().data_dir == tmp_path / "imagegen"
    environment.setenv("XDG_DATA_HOME", "")
    environment.setenv("HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / ".local" / "share" / "imagegen"


def test_a_device_map_has_pairs_of_names() -> None:
    assert load_settings(worker={"device_map": "GPU=CPU,NPU=GPU.0"}).worker.stand_ins == {"GPU": "CPU", "NPU": "GPU.0"}
    assert load_settings().worker.stand_ins == {}
    with pytest.raises(SettingsError, match="NAME=NAME pairs"):
        load_settings(worker={"device_map": "GPU:CPU"})


@pytest.mark.parametrize("url", ["https://example.com/images-api", "http://10.0.0.1:8000", "http://[::1]:8/a"])
def test_a_public_url_is_a_whole_address(url: str) -> None:
    assert load_settings(http={"public_url": url}).http.public_url == url
    assert load_settings(http={"public_url": ""}).http.public_url is None
    for wrong in (
        "example.com/images-api",
        "ftp://example.com",
        f"{url}?a=b",
        f"{url}#a",
        "https://a b",
        "https://",
        "https://a:99999",
    ):
        with pytest.raises(SettingsError, match=r"IMAGEGEN_HTTP__PUBLIC_URL: .* write it with http:// or https://"):
            load_settings(http={"public_url": wrong})

"""Adapters that an administrator adds from a URL, on a real Redis; a server on this machine stands in for Civitai."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import DownloadSettings, HttpSettings, RedisSettings, RepositorySettings, Settings
from tests.api.api_support import Api, error_of, serving
from tests.support.redis_server import RunningRedis
from tests.workers.engine.adapter_support import write_native
from tests.workers.engine.engine_support import copy_model
from tests.workers.sources.sources_support import REPOSITORY, FileServer, Page, file_server

KEY, TOKEN = "administrators-key-0123456789", "civitai-token-hush"
PATH = "/api/download/models/12345"


@pytest.fixture
def civitai(tmp_path: Path) -> Iterator[FileServer]:
    body = write_native(tmp_path / "ink.safetensors", "sd", 1).read_bytes()
    with file_server() as server:
        named = {"Content-Disposition": "attachment; filename*=UTF-8''ink%20style.safetensors"}
        server.pages[PATH] = Page(body, headers=named)
        yield server


@pytest.fixture
def api(redis_settings: RedisSettings, civitai: FileServer, tmp_path: Path) -> Iterator[Api]:
    settings = Settings(
        redis=redis_settings,
        repository=RepositorySettings(model_path=copy_model("sd", tmp_path), model_name="fox"),
        http=HttpSettings(api_key=KEY),
        downloads=DownloadSettings(civitai_endpoint=civitai.url, civitai_token=TOKEN, hf_endpoint=civitai.url),
        data_dir=tmp_path / "data",
    )
    with serving(settings) as running:
        running.http.headers["Authorization"] = f"Bearer {KEY}"
        yield running


def add(api: Api, source: str) -> Any:
    return api.http.post("/v3/lora_adapters", json={"alias": "ink", "source": source})


def test_a_download_of_civitai_is_added(
    api: Api, civitai: FileServer, redis_server: RunningRedis, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = add(api, f"{civitai.url}{PATH}?type=Model&format=SafeTensor:0.8")
    assert answer.status_code == 201, answer.text
    assert answer.json()["adapters"] == {"ink": 0.8}
    (request,) = civitai.requests
    assert request[2]["authorization"] == f"Bearer {TOKEN}"
    client = redis_server.client()
    (stored,) = client.hgetall("imagegen:adapters:fox").values()
    assert b"/ink style.safetensors" in stored and b"type=Model&format=SafeTensor" in stored
    assert (tmp_path / "sd" / "loras" / "ink").is_dir()
    assert TOKEN.encode() not in stored and TOKEN not in answer.text
    assert TOKEN not in "".join(capfd.readouterr())


def test_a_refusal_of_civitai_says_what_to_do(api: Api, civitai: FileServer) -> None:
    civitai.pages[PATH].status = 401
    error = error_of(add(api, f"{civitai.url}{PATH}"))
    assert (error["param"], error["code"]) == ("source", "invalid_adapter")
    assert "(status 401); the token of CIVITAI_TOKEN is not accepted." in error["message"]
    assert TOKEN not in error["message"]


def test_another_server_of_this_network_is_refused_as_before(api: Api) -> None:
    with file_server() as other:
        for path in (PATH, "/x.safetensors"):
            assert "is plain HTTP" in error_of(add(api, f"{other.url}{path}"))["message"]
        assert other.requests == []


def test_a_removed_adapter_takes_its_file_with_it(api: Api, tmp_path: Path) -> None:
    path = f"{PATH}?type=Model&format=SafeTensor"
    civitai_url = api.settings.downloads.civitai_endpoint
    assert add(api, f"{civitai_url}{path}").status_code == 201
    folder = tmp_path / "sd" / "loras" / "ink"
    assert len(list(folder.rglob("*.safetensors"))) == 1
    assert api.http.delete("/v3/lora_adapters/ink").status_code == 200
    assert list(folder.rglob("*.safetensors")) == []
    assert add(api, f"{civitai_url}{path}").status_code == 201


def test_a_file_of_a_repository_goes_with_the_last_adapter_that_uses_it(
    api: Api, civitai: FileServer, tmp_path: Path
) -> None:
    civitai.add_repository({"ink.safetensors": (tmp_path / "ink.safetensors").read_bytes()})
    for alias in ("ink", "wash"):
        body = {"alias": alias, "source": f"{REPOSITORY}@ink.safetensors"}
        assert api.http.post("/v3/lora_adapters", json=body).status_code == 201
    file = tmp_path / "sd" / "loras" / REPOSITORY / "ink.safetensors"
    assert api.http.delete("/v3/lora_adapters/ink").status_code == 200
    assert file.is_file()
    assert api.http.delete("/v3/lora_adapters/wash").status_code == 200
    assert not file.exists()


def test_a_removed_local_adapter_keeps_its_file(api: Api, tmp_path: Path) -> None:
    file = write_native(tmp_path / "mine.safetensors", "sd", 1)
    assert add(api, str(file)).status_code == 201
    assert api.http.delete("/v3/lora_adapters/ink").status_code == 200
    assert file.is_file()

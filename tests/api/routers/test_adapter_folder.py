"""The folder of adapters as the API serves it, on a real Redis; no worker draws here."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from config.http_settings import HttpSettings
from config.settings import RedisSettings, RepositorySettings, Settings
from graphs.errors import RepositoryError
from tests.api.api_support import Api, error_of, serving
from tests.cli.cli_support import imagegen_here
from tests.security.owners import write_keys
from tests.stack.adapter_service import adapter_entry, tiny
from tests.support.redis_server import RunningRedis
from tests.workers.engine.adapter_support import write_native

KEY = "administrators-key-0123456789"
AS_ADMINISTRATOR = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "loras"
    (made / "sub").mkdir(parents=True)
    write_native(made / "Ink é.safetensors", "sd", 1)
    write_native(made / "sub" / "wash.safetensors", "sd", 2)
    return made


@pytest.fixture
def serve(redis_settings: RedisSettings, tmp_path: Path) -> Any:
    own = write_native(tmp_path / "own.safetensors", "sd", 9)
    model = tiny(tmp_path / "fox", adapter_entry("own", own))

    @contextmanager
    def serve(folder: Path | None) -> Iterator[Api]:
        settings = Settings(
            redis=redis_settings,
            repository=RepositorySettings(model_path=model),
            http=HttpSettings(api_key_file=write_keys(tmp_path / "keys", KEY, "other")),
            lora_folder=folder,
        )
        with serving(settings) as api:
            api.http.headers.update(AS_ADMINISTRATOR)
            yield api

    return serve


def names(api: Api) -> list[str]:
    listed = api.http.get("/v3/models").json()["data"]
    return [model["id"] for model in listed if model["alias_of"] is None]


def refreshed(api: Api) -> dict[str, Any]:
    answer = api.http.post("/v3/lora_adapters/refresh")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found.pop("object") == "lora_adapters.refreshed"
    return found


def changes(served: int, **more: Any) -> dict[str, Any]:
    return {"served": served, "added": [], "changed": [], "removed": [], "left_out": [], **more}


def test_each_file_is_an_alias_from_the_start(serve: Any, folder: Path) -> None:
    with serve(folder) as api:
        assert names(api) == ["fox", "own", "Ink-e", "wash"]
        body = api.http.get("/v3/models/Ink-e").json()
        assert (body["kind"], body["base"], body["adapters"]) == ("adapter", "fox", {"Ink-e": 1.0})
        assert refreshed(api) == changes(2)


def test_the_folder_is_looked_at_on_demand_only(serve: Any, folder: Path) -> None:
    with serve(folder) as api:
        write_native(folder / "new.safetensors", "sd", 3)
        (folder / "Ink é.safetensors").unlink()
        write_native(folder / "sub" / "wash.safetensors", "sd", 4)
        assert names(api) == ["fox", "own", "Ink-e", "wash"]
        assert refreshed(api) == changes(2, added=["new"], changed=["wash"], removed=["Ink-e"])
        assert names(api) == ["fox", "own", "new", "wash"]
        assert refreshed(api) == changes(2)


def test_a_file_that_cannot_be_served_is_left_out_with_its_sentence(serve: Any, folder: Path) -> None:
    write_native(folder / "flux.safetensors", "flux", 1)
    (folder / "cut.safetensors").write_bytes((folder / "Ink é.safetensors").read_bytes()[:500])
    for taken in ("own", "fox", "Wash"):
        write_native(folder / f"{taken}.safetensors", "sd", 3)
    write_native(folder / "Ink-e.safetensors", "sd", 3)
    with serve(folder) as api:
        left_out = {entry["file"]: entry["reason"] for entry in refreshed(api)["left_out"]}
        assert names(api) == ["fox", "own", "Ink-e", "Wash", "wash"]
        expected = ("Ink-e", "cut", "flux", "fox", "own")
        assert list(left_out) == [f"{name}.safetensors" for name in expected]
        assert left_out["Ink-e.safetensors"] == "its alias 'Ink-e' is that of Ink é.safetensors; rename one of them."
        assert left_out["own.safetensors"] == "its alias 'own' is taken by a model or by another adapter; rename it."
        assert left_out["flux.safetensors"].startswith("it does not fit: only 0 of its 3 layers are in this ")
        assert left_out["cut.safetensors"].startswith("it does not fit: ")
        # A file that becomes a bad one loses its alias, and one that becomes a good one gets it.
        (folder / "sub" / "wash.safetensors").write_bytes(b"garbage")
        write_native(folder / "cut.safetensors", "sd", 5)
        found = refreshed(api)
        assert (found["added"], found["removed"], found["served"]) == (["cut"], ["wash"], 3)


def test_a_name_that_cannot_be_printed_is_no_trouble(serve: Any, folder: Path) -> None:
    write_native(folder / "ok.safetensors", "sd", 3)
    for content, name in ((folder / "ok.safetensors", b"good\xff"), (None, b"bad\xff\n")):
        path = os.fsencode(folder) + b"/" + name + b".safetensors"
        with open(path, "wb") as file:
            file.write(content.read_bytes() if content else b"")
    with serve(folder) as api:
        (entry,) = refreshed(api)["left_out"]
        assert entry["file"] == "bad\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}.safetensors"
        assert names(api) == ["fox", "own", "Ink-e", "good", "ok", "wash"]


def test_an_adapter_of_an_administrator_keeps_its_name(serve: Any, folder: Path, tmp_path: Path) -> None:
    with serve(folder) as api:
        body = {"alias": "new", "source": str(tmp_path / "own.safetensors"), "alpha": 0.5}
        assert api.http.post("/v3/lora_adapters", json=body).status_code == 201
        write_native(folder / "new.safetensors", "sd", 3)
        (entry,) = refreshed(api)["left_out"]
        assert entry["file"] == "new.safetensors" and "'new' is taken" in entry["reason"]
        assert api.http.get("/v3/models/new").json()["adapters"] == {"new": 0.5}
        error = error_of(api.http.post("/v3/lora_adapters", json={**body, "alias": "wash"}))
        assert error["param"] == "alias" and "already taken" in error["message"]
        assert api.http.delete("/v3/lora_adapters/new").status_code == 200
        assert refreshed(api)["added"] == ["new"]


def test_an_adapter_of_the_folder_is_removed_with_its_file(serve: Any, folder: Path) -> None:
    with serve(folder) as api:
        error = error_of(api.http.delete("/v3/lora_adapters/wash"))
        assert error["message"] == ("'wash' comes from the folder of adapters; take its file out of there and refresh.")
        assert "wash" in names(api)


def test_a_folder_that_is_away_changes_nothing(serve: Any, folder: Path) -> None:
    with serve(folder) as api:
        folder.rename(folder.with_name("moved"))
        error = error_of(api.http.post("/v3/lora_adapters/refresh"))
        assert error["message"] == f"{folder}: The folder of adapters cannot be read: No such file or directory."
        assert names(api) == ["fox", "own", "Ink-e", "wash"]


def test_a_start_sees_what_has_changed_meanwhile(serve: Any, folder: Path) -> None:
    with serve(folder):
        pass
    (folder / "Ink é.safetensors").unlink()
    write_native(folder / "new.safetensors", "sd", 3)
    with serve(folder) as api:
        assert names(api) == ["fox", "own", "new", "wash"]
    with serve(None) as api:
        assert names(api) == ["fox", "own"]
        error = error_of(api.http.post("/v3/lora_adapters/refresh"))
        assert error["message"] == "There is no folder of adapters; start the server with --lora_folder FOLDER."


def test_a_start_without_redis_looks_at_the_folder_later(serve: Any, folder: Path, redis_server: RunningRedis) -> None:
    os.kill(redis_server.process.pid, signal.SIGSTOP)
    try:
        with serve(folder) as api:
            assert names(api) == ["fox", "own"]
            os.kill(redis_server.process.pid, signal.SIGCONT)
            assert names(api) == ["fox", "own", "Ink-e", "wash"]
    finally:
        os.kill(redis_server.process.pid, signal.SIGCONT)


def test_only_content_that_may_have_changed_is_read_again(serve: Any, folder: Path) -> None:
    """A file that looks the same is the same: its size and the times of its last change."""
    path = folder / "sub" / "wash.safetensors"
    with serve(folder) as api:
        path.touch()
        assert refreshed(api) == changes(2)
        before = path.stat()
        write_native(path, "sd", 7)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as `cp -p` of an older copy does
        assert path.stat().st_size == before.st_size
        assert refreshed(api) == changes(2, changed=["wash"])


def test_only_administrators_may_refresh(serve: Any, folder: Path) -> None:
    with serve(folder) as api:
        error_of(api.http.post("/v3/lora_adapters/refresh", headers={"Authorization": "Bearer other"}), 403)


def test_a_start_with_a_wrong_folder_is_refused(serve: Any, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="cannot be read"), serve(tmp_path / "none"):
        pass


def test_the_commands_of_the_command_line(serve: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(folder) as api:
        server = ("--url", str(api.http.base_url), "--api_key", KEY)
        write_native(folder / "new.safetensors", "sd", 3)
        write_native(folder / "flux.safetensors", "flux", 3)
        (folder / "Ink é.safetensors").unlink()
        write_native(folder / "sub" / "wash.safetensors", "sd", 4)
        assert imagegen_here("adapters", "refresh", *server) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[:3] == ["added    new", "changed  wash", "removed  Ink-e"]
        assert lines[3].startswith("left out flux.safetensors: it does not fit: ")
        assert lines[4:] == ["2 adapters of the folder are served"]
        assert imagegen_here("adapters", "list", *server) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert rows == [
            ["name", "kind", "base", "strengths"],
            ["own", "adapter", "fox", "own", "1"],
            ["new", "adapter", "fox", "new", "1"],
            ["wash", "adapter", "fox", "wash", "1"],
        ]
        assert imagegen_here("adapters", "show", "fox", *server) == 0
        assert capsys.readouterr().out.startswith("fox is drawn without adapters; ")
        assert imagegen_here("adapters", "show", "wash", *server) == 0
        assert capsys.readouterr().out.splitlines() == ["wash: denoiser 3 of 3 layers", "wash: rank 4"]
        assert imagegen_here("adapters", "refresh", *server[:2]) == 2
        assert "the server refuses: Give an API key" in capsys.readouterr().err

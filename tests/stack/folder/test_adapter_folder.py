"""A folder of adapters, through the whole service: two workers, one API, and files that come, change and go."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.cli_support import imagegen
from tests.stack.adapter_service import adapter_entry, ask, assert_raw, listed, refused, served_image, tiny
from tests.stack.test_runtime_adapters import ADMINISTRATOR, Stage, as_key, second_worker, start
from tests.support.polling import wait_until
from tests.workers.engine.adapter_support import Blend, write_kohya, write_native
from tests.workers.engine.adapters.test_runtime_adapters import OTHER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "loras"
    (made / "sub").mkdir(parents=True)
    return made


def assert_drawn_by_both(stage: Stage, second_log: Path, model: str, blend: Blend) -> None:
    """Each of the two workers draws the image that GenAI draws with these adapters."""
    logs = (stage.service.log, second_log)
    before = [log.read_text().count("completed in") for log in logs]

    def each_has_drawn() -> bool:
        with ThreadPoolExecutor(2) as clients:
            for drawn in clients.map(lambda _: served_image(stage.service, model), range(4)):
                assert_raw(drawn, blend)
        return all(log.read_text().count("completed in") > count for log, count in zip(logs, before, strict=True))

    wait_until(each_has_drawn, f"both workers have drawn {model}")


def refresh(stage: Stage) -> str:
    """Refresh as an administrator does on the command line."""
    done = imagegen("adapters", "refresh", "--url", stage.service.url, "--api_key", ADMINISTRATOR)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def stage(tmp_path: Path, folder: Path) -> Iterator[Stage]:
    own = write_native(tmp_path / "own.safetensors", "sd", 9)
    tiny(tmp_path / "models" / "fox", adapter_entry("own", own))
    write_native(folder / "Ink é.safetensors", "sd", 3)
    write_native(folder / "sub" / "wash.safetensors", "sd", 4)
    write_native(folder / "flux.safetensors", "flux", 1)
    (folder / "loading.safetensors.part").write_bytes(b"half")
    arguments = ("--model_repository_path", str(tmp_path / "models"), "--lora_folder", str(folder))
    with start(tmp_path, *arguments) as service:
        yield Stage(as_key(service, ADMINISTRATOR), tmp_path)


def test_files_that_come_and_change_and_go_reach_every_worker(stage: Stage, folder: Path) -> None:
    ink, wash = folder / "Ink é.safetensors", folder / "sub" / "wash.safetensors"
    assert listed(stage.service) == {
        "fox": ("base", "fox", {}),
        "own": ("adapter", "fox", {"own": 1.0}),
        "Ink-e": ("adapter", "fox", {"Ink-e": 1.0}),
        "wash": ("adapter", "fox", {"wash": 1.0}),
    }
    assert "flux.safetensors of the folder of adapters is left out: it does not fit: " in stage.service.log.read_text()
    with second_worker(stage) as second_log:
        assert_drawn_by_both(stage, second_log, "Ink-e", [(ink, 1.0)])
        assert_drawn_by_both(stage, second_log, "wash", [(wash, 1.0)])
        assert_raw(served_image(stage.service, "wash", lora_alphas={"wash": 0.3}), [(wash, 0.3)])

        shown = imagegen("adapters", "show", "wash", "--url", stage.service.url, "--api_key", ADMINISTRATOR)
        assert shown.stdout.splitlines() == ["wash: denoiser 3 of 3 layers", "wash: rank 4"]

        new = write_kohya(folder / "new.safetensors", OTHER, 5)  # of other layers, so the model is compiled again
        write_native(wash, "sd", 6)
        changed = write_native(stage.folder / "as-changed.safetensors", "sd", 6)  # raw_image remembers paths
        assert "new" not in listed(stage.service)
        out = refresh(stage).splitlines()
        assert out[:2] == ["added    new", "changed  wash"] and out[-1] == "3 adapters of the folder are served"
        assert_drawn_by_both(stage, second_log, "new", [(new, 1.0)])
        assert_drawn_by_both(stage, second_log, "wash", [(changed, 1.0)])

        ink.unlink()
        assert "removed  Ink-e" in refresh(stage).splitlines()
        assert refused(ask(stage.service, "Ink-e"), 404)["code"] == "model_not_found"
        assert_drawn_by_both(stage, second_log, "wash", [(changed, 1.0)])
        assert_drawn_by_both(stage, second_log, "fox", ())


def test_a_wrong_folder_ends_the_start_with_a_sentence(tmp_path: Path, folder: Path) -> None:
    own = write_native(tmp_path / "own.safetensors", "sd", 9)
    model = tiny(tmp_path / "fox", adapter_entry("own", own, "STATIC"))
    data = ("--data_dir", str(tmp_path / "data"))
    done = imagegen("serve", "--model_path", str(model), "--lora_folder", str(folder), *data)
    assert done.returncode == 2
    assert done.stderr == (
        "imagegen: --lora_folder is for adapters that are switched with each request, and those of 'fox' are compiled "
        "in (mode STATIC, as on the NPU); name them with --source_loras or in graph.pbtxt.\n"
    )
    done = imagegen("serve", "--lora_folder", str(tmp_path / "none"), *data)
    assert done.returncode == 2
    assert done.stderr == (
        f"imagegen: {tmp_path}/none: The folder of adapters cannot be read: No such file or directory.\n"
    )

"""The conversion's process, with a converter that only writes what the real one writes."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.errors import UserError
from cli.export.compression import Compression
from cli.export.conversion import ExportPlan, appear, convert, held
from cli.export.report import REPORT_FILE, write_report
from cli.export.source import read_source
from tests.cli.export.export_support import write_source

pytestmark = pytest.mark.usefixtures("processes")
GIB = 2**30
PROOF = {"error": 0.001, "cosine": 1.0, "seconds": 0.1, "weight_format": "fp16"}
DONE = {"done": True, "parts": {"unet": PROOF}, "versions": {"torch": "2.13.0"}}


def _plan(tmp_path: Path, **changed: Any) -> ExportPlan:
    source = tmp_path / "source"
    found = read_source(source if source.exists() else write_source(source))
    values = {"compression": Compression("fp16"), "memory_limit_bytes": 16 * GIB, "model": "m", **changed}
    return ExportPlan(found, tmp_path / "target", **values)


def _converter(tmp_path: Path, code: str) -> Path:
    """Return an executable that is started as the Python of the converter; its plan is ``plan``."""
    script = tmp_path / "python"
    begin = "import json, pathlib, sys; plan = json.loads(pathlib.Path(sys.argv[3]).read_text())"
    script.write_text(f"#!{sys.executable}\n{begin}\n{code}\n")
    script.chmod(0o755)
    return script


_WRITES = f"""
part = pathlib.Path(plan["output"], "unet")
if part.exists(): print("kept: unet", flush=True)
part.mkdir(exist_ok=True)
(part / "openvino_model.xml").write_text("<net/>")
(part / "proof.json").write_text("{{}}")
pathlib.Path(plan["output"], "model_index.json").write_text("{{}}")
print("a warning of a library")
print(json.dumps({{"step": "proved", "part": "unet", "error": 0.001, "cosine": 1.0}}))
print({json.dumps(json.dumps(DONE))})
"""


def test_the_model_appears_with_its_report_when_all_is_done(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    events: list[dict[str, Any]] = []
    done = convert(_converter(tmp_path, _WRITES), plan, events.append)
    assert [event.get("step") for event in events] == ["proved", None]
    assert not plan.target.exists()
    write_report(plan, done, plan.stage)
    appear(plan, overwrite=False)
    found = sorted(str(path.relative_to(plan.target)) for path in plan.target.rglob("*") if path.is_file())
    assert found == [REPORT_FILE, "model_index.json", "unet/openvino_model.xml"]
    report = json.loads((plan.target / REPORT_FILE).read_text())
    assert report["parts"] == {"unet": {"parameters": 288, **PROOF}}
    assert report["files"]["unet/openvino_model.xml"]["bytes"] == 6
    assert report["files"]["unet/openvino_model.xml"]["sha256"] == hashlib.sha256(b"<net/>").hexdigest()
    assert (report["class"], report["weight_format"], report["group_size"]) == ("StableDiffusionPipeline", "fp16", None)


def test_finished_parts_stay_for_the_same_plan_only(tmp_path: Path) -> None:
    fails = f'{_WRITES.rpartition("print(")[0]}\nprint(json.dumps({{"error": "unet: it is wrong."}})); sys.exit(1)'
    plan = _plan(tmp_path)
    with pytest.raises(UserError, match=r"^unet: it is wrong\.$"):
        convert(_converter(tmp_path, fails), plan, lambda _event: None)
    assert (plan.stage / "unet" / "proof.json").exists() and not plan.target.exists()
    crash = f"{_WRITES}\nimport os; os.kill(os.getpid(), 9)"
    for other, kept in ((plan, True), (_plan(tmp_path, compression=Compression("int8")), False)):
        with pytest.raises(UserError, match="the conversion failed: ") as failed:
            convert(_converter(tmp_path, crash), other, lambda _event: None)
        assert ("kept: unet" in str(failed.value)) is kept
        assert "a warning of a library" in str(failed.value)


def test_a_process_past_its_memory_is_ended_with_a_sentence(tmp_path: Path) -> None:
    grows = "kept = [bytearray(b'x' * 400_000_000)]; sys.stdin.read(); import time; time.sleep(60)"
    plan = _plan(tmp_path, memory_limit_bytes=200_000_000)
    with pytest.raises(UserError, match=r"it took more than 0\.2 GiB of memory.*finished parts stay"):
        convert(_converter(tmp_path, grows), plan, lambda _event: None)


def test_too_little_memory_or_room_is_refused_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"takes about 1\.5 GiB of memory, and it may take 1\.0"):
        _plan(tmp_path, memory_limit_bytes=GIB).check()
    plan = _plan(tmp_path)
    plan.check()
    monkeypatch.setattr("cli.export.conversion.shutil.disk_usage", lambda _path: type("Usage", (), {"free": 10})())
    with pytest.raises(UserError, match=r"on the disk, and .* has 0\.0 free; make room"):
        plan.check()


def test_two_exports_into_one_folder_do_not_meet(tmp_path: Path) -> None:
    stage = _plan(tmp_path).stage
    with (
        held(stage),
        pytest.raises(UserError, match=r"another export is writing into .*; wait for its end"),
        held(stage),
    ):
        pass
    with held(stage):
        assert stage.is_dir()

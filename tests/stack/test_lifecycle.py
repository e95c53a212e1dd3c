"""``imagegen serve`` from start to end: what it prints works, and nothing of it stays behind."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.polling import wait_until
from tests.support.service import serving, write_graph


def test_it_stops_cleanly_and_a_second_start_keeps_its_jobs(tmp_path: Path) -> None:
    """tests/cli/commands/test_serve.py stops it with SIGINT."""
    model = write_graph(tmp_path / "shapes")
    arguments, simulated = ("--model_path", str(model)), {"IMAGEGEN_WORKER__ENGINE": "simulated"}
    with serving(tmp_path, *arguments, environment=simulated) as service:
        job = service.http.post(
            "/v3/images/generations", json={"prompt": "a star"}, headers={"Prefer": "respond-async"}
        ).json()
        wait_until(lambda: service.http.get(job["urls"]["self"]).json()["status"] == "completed", "completed")
        image = service.http.get(job["urls"]["result"]).json()
        pids = service.descendants()
        assert len(pids) >= 4, "Redis, the API, a worker and its child"
        assert service.stop(signal.SIGTERM) == 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert "Traceback" not in service.log.read_text()
    with serving(tmp_path, *arguments, environment=simulated) as again:
        kept = again.http.get(f"/v3/images/jobs/{job['id']}/result")
    assert kept.json() == image


def test_a_model_that_cannot_be_loaded_ends_it_with_one_sentence(tmp_path: Path) -> None:
    model = write_graph(tmp_path / "shapes", more="").parent / "broken"
    write_graph(model, _broken_copy(tmp_path))
    arguments = ["-m", "cli", "serve", "--model_path", str(model), "--data_dir", str(tmp_path / "data")]
    ended = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=100)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr and str(tmp_path / "copy") in ended.stderr


def _broken_copy(folder: Path) -> Path:
    """A model whose JSON files are right and whose weights are cut off."""
    source = Path(__file__).parents[1] / "models" / "sd"
    copy = Path(shutil.copytree(source, folder / "copy"))
    for part in ("unet", "vae_decoder", "vae_encoder", "text_encoder"):
        (copy / part / "openvino_model.xml").write_text("<net")
    return copy

"""A worker on a device that draws other images for the same request: it is never ready, and says why."""

from pathlib import Path

import httpx2

from config.settings import RedisSettings
from tests.stack.adapter_service import adapter_entry
from tests.stack.worker_support import Process, an_api, ready_workers
from tests.support.ports import free_port
from tests.support.service import write_graph
from tests.workers.engine.adapter_support import write_kohya
from tests.workers.engine.engine_support import MODELS
from tests.workers.engine.equality_support import POOLED, hide_pooled_prompts, layers_of


def test_it_is_not_ready_and_says_why(redis_settings: RedisSettings, tmp_path: Path) -> None:
    layers = layers_of(MODELS / "sd3" / "transformer", (POOLED,))
    path = write_kohya(tmp_path / "p.safetensors", layers, 1, start="lora_transformer_")
    model = write_graph(tmp_path / "sd3", hide_pooled_prompts(tmp_path), steps=2, more=adapter_entry("p", path))
    port, log = free_port(), tmp_path / "worker.log"

    with an_api(redis_settings, tmp_path, port, "--model_path", str(model)):
        worker = Process("worker", "--model_path", str(model), log=log, REDIS_URL=redis_settings.url or "")
        try:
            code = worker.code()
        finally:
            worker.kill()
        answer = httpx2.get(f"http://127.0.0.1:{port}/v2/health/ready")

    assert code == 2
    # The wrong memory may also hold what is no number; then the first image says so, before two are compared.
    sentences = ("does not draw the same image for the same request on CPU", "infinite or not a number (NaN)")
    assert any(sentence in log.read_text() for sentence in sentences)
    assert ready_workers(redis_settings) == 0
    assert answer.status_code == 503
    assert "worker" in answer.json()["error"]["message"]

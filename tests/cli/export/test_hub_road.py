"""The whole road with the real libraries: a repository of PyTorch, `imagegen serve`, the stock client's picture."""

import json
from pathlib import Path

import pytest
from openai import OpenAI

from cli.export.environment import exporter_python
from cli.export.report import REPORT_FILE
from graphs.definition.reader import read_graph
from tests.cli.export.torch_support import by_hand, made_source
from tests.support.hub import hub_stand_in
from tests.support.service import serving

pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("processes")]
NAME = "org/tiny"


@by_hand
def test_from_a_repository_to_a_picture_and_again_without_hub_and_pytorch(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    source = made_source(data_dir, "sd", tmp_path / "source")
    service_folder = tmp_path / "service"
    environment = service_folder / "data" / "export-environment"
    environment.parent.mkdir(parents=True)
    environment.symlink_to(exporter_python(data_dir).parents[2])
    words = ("--source_model", NAME, "--weight-format", "int4", "--extra_quantization_params", "--sym --group-size 16")
    with hub_stand_in() as hub:
        hub.add(NAME, source)
        settings = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url}
        with serving(service_folder, *words, environment=settings, deadline_s=900) as service:
            first = _drawn(service.client())
    folder = service_folder / "data" / "models" / NAME
    report = json.loads((folder / REPORT_FILE).read_text())
    formats = {name: part["weight_format"] for name, part in report["parts"].items()}
    assert formats == {"text_encoder": "int8", "unet": "int4", "vae_decoder": "int8", "vae_encoder": "int8"}
    assert 'element_type="i4"' in (folder / "unet" / "openvino_model.xml").read_text(), "symmetric"
    assert read_graph(folder / "graph.pbtxt", NAME).device == ("CPU",)
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
    environment.unlink()
    with serving(service_folder, *words, environment=settings, deadline_s=180) as service:
        assert _drawn(service.client()) == first
    assert not environment.exists()


def _drawn(client: OpenAI) -> str:
    drawn = client.images.generate(model=NAME, prompt="a fox", extra_body={"size": "128x128", "rng_seed": 1}).data
    assert drawn is not None and drawn[0].b64_json is not None
    return drawn[0].b64_json

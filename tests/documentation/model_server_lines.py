"""The table of Model Server's command lines in docs/ovms.md, and the machine on which each of them is run.

``/models`` of a line is a folder of the test, and Hugging Face is the stand-in: its repositories have the names of the
line and hold the small models of the tests; a stand-in converts those of PyTorch. Devices that are not here are stood
in for by the CPU.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from tests.cli.cli_support import ROOT, clean_environment
from tests.support.hub import HubStandIn, StoredRepository, hub_stand_in
from tests.support.ports import free_port
from tests.support.service import Service
from tests.support.torch_models import write_converter, write_torch_model

MODELS = ROOT / "tests" / "models"
# A line that converts loads a model twice, which takes long on a machine that does other things.
LONGEST_S = 240
SECTION = "## The lines of its documentation"
_ROW = re.compile(r"^\| `(.+?)` \| (\w+)(.*) \|$")
_PORT = "8000"
SD = "OpenVINO/stable-diffusion-v1-5-int8-ov"
FLUX = "OpenVINO/FLUX.1-schnell-int4-ov"
EXPORTED = "dreamlike-art/dreamlike-anime-1.0"
REPOSITORIES = {
    SD: "sd",
    "OpenVINO/dreamshaper-8-inpainting-int8-ov": "sd",
    "OpenVINO/stable-diffusion-xl-base-1.0-int8-ov": "sdxl",
    FLUX: "flux",
}
OF_TORCH = {
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl",
    "black-forest-labs/FLUX.1-schnell": "flux",
    "dreamlike-art/dreamlike-anime-1.0": "sd",
}
ADAPTERS = {
    "DoctorDiffusion/doctor-diffusion-s-xray-xl-lora": "DD-xray-v1.safetensors",
    "alvdansen/the-point": "araminta_k_the_point.safetensors",
    "KappaNeuro/ukiyo-e-art": "Ukiyo-e Art.safetensors",
    "DoctorDiffusion/doctor-diffusion-s-controllable-vector-art-xl-lora": "DD-vector-v2.safetensors",
    "Norod78/sdxl-chalkboarddrawing-lora": "SDXL_ChalkBoardDrawing_LoRA_r8.safetensors",
    "juliensimon/sd-pokemon-lora": "pytorch_lora_weights.safetensors",
    "user/anime-lora": "anime.safetensors",
    "user/repo": "model.safetensors",
}
_LLM_GRAPH = 'node: { name: "LLMExecutor" calculator: "HttpLLMCalculator" }\n'


@dataclass(frozen=True)
class Line:
    """A row of the table: the line as it is typed, the result's first word, and what follows that."""

    typed: str
    result: str
    rest: str

    @property
    def names(self) -> list[str]:
        """The models that are served, of a row with that result."""
        return re.findall(r"`([^`]+)`", self.rest)

    def is_sentence(self, text: str) -> bool:
        """Return whether a text is the sentence of a row whose line is refused; ``...`` stands for a part of it."""
        parts = self.rest.removeprefix(": ").split("...")
        return re.fullmatch(".+".join(map(re.escape, parts)), text) is not None


def lines_of_the_page() -> list[Line]:
    """Return the rows of the table in docs/ovms.md."""
    section = (ROOT / "docs" / "ovms.md").read_text().partition(f"{SECTION}\n")[2].partition("\n## ")[0]
    return [Line(*found.groups()) for row in section.splitlines() if (found := _ROW.match(row))]


class Machine:
    """A machine with a folder of models, and a Hub that it reaches."""

    def __init__(self, folder: Path, hub: HubStandIn) -> None:
        self.folder, self.hub, self.port = folder, hub, free_port()

    def words(self, line: Line) -> tuple[dict[str, str], list[str]]:
        """Return the variables before a line and its words after ``imagegen``, with this machine's places."""
        text = re.sub(r"(?<![\w.])/models", str(self.folder / "models"), line.typed).replace(
            "https://huggingface.co", self.hub.url
        )
        words = shlex.split(text.replace(f"--rest_port {_PORT}", f"--rest_port {self.port}"))
        at = words.index("imagegen")
        return dict(word.split("=", 1) for word in words[:at]), words[at + 1 :]

    def environment(self, given: dict[str, str]) -> dict[str, str]:
        """Return the environment: the Hub's address, folders of this machine, and devices that stand in."""
        home = {"XDG_DATA_HOME": str(self.folder / "data"), "HF_HOME": str(self.folder / "hf")}
        devices = {"IMAGEGEN_WORKER__DEVICE_MAP": "GPU=CPU,NPU=CPU"}
        return {**clean_environment(HF_ENDPOINT=self.hub.url, **home, **devices), **given}

    def run(self, line: Line) -> "subprocess.CompletedProcess[str]":
        """Run a line that ends by itself."""
        given, words = self.words(line)
        return subprocess.run(
            [sys.executable, "-P", "-m", "cli", *words],
            env=self.environment(given), cwd=self.folder, capture_output=True, text=True, timeout=LONGEST_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    @contextmanager
    def serving(self, line: Line) -> Iterator[Service]:
        """Run a line that serves until the block ends: with OpenVINO, where it fetches its model."""
        given, words = self.words(line)
        if "--source_model" not in words:
            given["IMAGEGEN_WORKER__ENGINE"] = "simulated"  # 4 s of processor time less
        log = self.folder / "serve.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cli", *words],
                env=self.environment(given), cwd=self.folder, stdout=output, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        service = Service(process, self.port, log)
        try:
            yield service
        finally:
            if process.poll() is None:
                service.stop()

    def as_typed(self, text: str) -> str:
        """Return what a line printed, with the places that the page names."""
        text = text.replace(f"{self.folder}/models", "/models").replace(self.hub.url, "https://huggingface.co")
        return text.replace(str(self.folder), "").replace(str(self.port), _PORT)


@contextmanager
def machine_for(line: Line, folder: Path) -> Iterator[Machine]:
    """Set up a machine: with models on its disk, where the line fetches none."""
    (folder / "models" / "empty").mkdir(parents=True)
    for place in ("models/loras", "loras"):
        _write_adapter(folder / place / "my_style.safetensors")
        _write_adapter(folder / place / "pokemon.safetensors")
    if "--source_model" not in line.typed and "/empty" not in line.typed:
        _fill(folder / "models")
    with hub_stand_in() as hub:
        for name, kind in REPOSITORIES.items():
            hub.add(name, MODELS / kind)
        for name, kind in OF_TORCH.items():
            hub.add(name, write_torch_model(folder / "torch" / kind, kind))
        write_converter(folder / "data" / "imagegen")
        for name, file in ADAPTERS.items():
            hub.repositories[name] = StoredRepository({file: _adapter()})
        yield Machine(folder, hub)


def _fill(models: Path) -> None:
    """Lay out a repository as Model Server and its export script leave one, with a model of text among the others."""
    for name, kind in ((SD, "sd"), (FLUX, "flux"), (EXPORTED, "sd")):
        shutil.copytree(MODELS / kind, models / name)
    llm = models / "meta-llama" / "Llama"
    llm.mkdir(parents=True)
    (llm / "graph.pbtxt").write_text(_LLM_GRAPH)
    graphs = [{"name": name, "base_path": name} for name in ("meta-llama/Llama", EXPORTED)]
    (models / "config_all.json").write_text(json.dumps({"mediapipe_config_list": graphs, "model_config_list": []}))
    served = [{"config": {"name": SD, "base_path": SD}}]
    (models / "config.json").write_text(json.dumps({"model_config_list": served}))


def _write_adapter(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_adapter())


def _adapter() -> bytes:
    """Return a LoRA adapter for the UNets of the small models."""
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    parts = {"lora_down": (4, 32), "lora_up": (32, 4)}
    return save({f"{layer}.{part}.weight": np.full(shape, 0.1, np.float32) for part, shape in parts.items()})

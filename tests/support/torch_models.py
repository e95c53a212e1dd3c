"""Models of PyTorch for tests without PyTorch: repositories in diffusers form, and a stand-in of the converter.

The weights are zeros, 4 MiB of them in the denoiser. The converter writes the small OpenVINO model of the same family,
with the lines that the real one prints, so that all around it is real: the pull, the process, the first picture, the
report, the service.
"""

import sys
from pathlib import Path

from cli.export.environment import environment_folder
from tests.cli.export.export_support import write_safetensors

MODELS = Path(__file__).parents[1] / "models"
FAMILIES = {
    "StableDiffusionPipeline": "sd",
    "StableDiffusionXLPipeline": "sdxl",
    "FluxPipeline": "flux",
    "LatentConsistencyModelPipeline": "lcm",
}
_CONVERTER = """
import json, pathlib, shutil, sys
plan = json.loads(pathlib.Path(sys.argv[3]).read_text())
source, output = pathlib.Path(plan["source"]), pathlib.Path(plan["output"])
index = json.loads((source / "model_index.json").read_text())
model = pathlib.Path({models!r}, {families!r}[index["_class_name"]])
(output / "plans.txt").open("a").write(json.dumps(plan["compression"]) + "\\n")
proof = {{"error": 0.001, "cosine": 0.999, "seconds": 0.1}}
parts = sorted(path.name for path in model.iterdir() if list(path.glob("openvino_model.xml")))
for number, part in enumerate(parts, 1):
    if not (output / part / "proof.json").exists():
        print(json.dumps({{"step": "converting", "part": part, "number": number, "of": len(parts), "parameters": 1}}))
        shutil.copytree(model / part, output / part, dirs_exist_ok=True)
        (output / part / "proof.json").write_text(json.dumps(proof))
        print(json.dumps({{"step": "proved", "part": part, **proof}}), flush=True)
{more}
shutil.copytree(model, output, dirs_exist_ok=True)
print(json.dumps({{"done": True, "parts": {{part: proof for part in parts}}, "versions": {{"torch": "0"}}}}))
"""


def write_converter(data_dir: Path, more: str = "") -> None:
    """Put the stand-in into a data folder, in the place of the environment with PyTorch.

    ``more`` is code that runs when the parts are there.
    """
    python = environment_folder(data_dir) / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    code = _CONVERTER.format(models=str(MODELS), families=FAMILIES, more=more)
    python.write_text(f"#!{sys.executable}\n{code}")
    python.chmod(0o755)


def write_torch_model(folder: Path, family: str = "sd") -> Path:
    """Write the small model of a family as a folder in diffusers form."""
    model = MODELS / family
    for path in model.rglob("*"):
        place = folder / path.relative_to(model)
        if path.suffix not in (".json", ".txt", ".model") or place.parent.name == "vae_encoder":
            continue
        place = place.parent.with_name("vae") / place.name if place.parent.name == "vae_decoder" else place
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    for part in ("unet", "transformer", "vae", "text_encoder", "text_encoder_2"):
        if (folder / part).is_dir():
            name = "model" if part.startswith("text") else "diffusion_pytorch_model"
            shape = [512, 4096] if part in ("unet", "transformer") else [8, 4]
            write_safetensors(folder / part / f"{name}.safetensors", {f"{part}.weight": shape})
    return folder

"""Converts the parts of a diffusers folder one by one: ``python -m tools.exporter PLAN.json``.

The plan is a JSON object: ``source`` (a diffusers folder, or with ``single_file`` a file with all parts, see
single_file.py), ``output`` (a folder, in which finished parts stay), ``compression`` (compression.py). Each line of the
output that is a JSON object tells of the progress; the last one has ``error`` or ``done``. A part that is finished
already is left as it is.
"""

import gc
import json
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openvino
from diffusers import DiffusionPipeline
from optimum.exporters.openvino.convert import export, export_tokenizer, get_diffusion_models_for_export_ext
from optimum.intel import OVConfig
from torch import nn

from tools.exporter.compression import GroupSizeError, compressed, format_of
from tools.exporter.loading import load_pipeline
from tools.exporter.precision import write_half
from tools.exporter.proof import Proof, expected_outputs, prove
from tools.exporter.weights import WeightsError

_MODEL = "openvino_model.xml"
_DONE = "proof.json"
_TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
_LIBRARIES = ("torch", "diffusers", "transformers", "optimum-intel", "nncf", "openvino", "openvino-tokenizers")


class ExportError(Exception):
    """The model cannot be exported; the message is a sentence."""


def main() -> int:
    """Follow the plan; return the exit code."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    try:
        say(step="loading")
        pipeline = load_pipeline(Path(plan["source"]), plan["single_file"])
        parts = convert(pipeline, Path(plan["output"]), plan["compression"])
    except (ExportError, WeightsError, GroupSizeError) as error:
        say(error=str(error))
        return 1
    say(done=True, parts=parts, versions={name: version(name) for name in _LIBRARIES})
    return 0


def say(**event: object) -> None:
    """Print one line about the progress."""
    print(json.dumps(event), flush=True)


def convert(pipeline: DiffusionPipeline, output: Path, compression: dict[str, Any]) -> dict[str, Any]:
    """Convert what is left to convert. Returns the proof of each part by its name. Raises ExportError."""
    _, exported = get_diffusion_models_for_export_ext(pipeline, exporter="openvino")
    output.mkdir(parents=True, exist_ok=True)
    proofs: dict[str, Any] = {}
    for number, name in enumerate(list(exported), 1):
        module, config = exported.pop(name)
        folder = output / name
        if not (folder / _DONE).exists():
            size = sum(parameter.numel() for parameter in module.parameters())
            say(step="converting", part=name, number=number, of=number + len(exported), parameters=size)
            proof = _convert_part(name, module, config, folder, compression)
            say(step="proved", part=name, **proof)
        proofs[name] = json.loads((folder / _DONE).read_text())
        del module, config
        gc.collect()
    say(step="tokenizers")
    _save_the_rest(pipeline, output)
    return proofs


def _convert_part(
    name: str, module: nn.Module, config: Any, folder: Path, compression: dict[str, Any]
) -> dict[str, float]:
    """Write one part beside its place, prove it, and move it there."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if hasattr(module, "save_config"):
        module.save_config(partial)
    elif hasattr(module.config, "save_pretrained"):
        module.config.save_pretrained(partial)
    given, expected = expected_outputs(module, config)
    full = OVConfig(dtype="fp32")
    export(module, config, partial / _MODEL, ov_config=full, stateful=False, library_name="diffusers")
    bits = format_of(name, compression)
    if bits != "fp32":
        model = openvino.Core().read_model(str(partial / _MODEL))
        write_half(compressed(model, name, compression), partial / _MODEL)
    proof: Proof = prove(partial / _MODEL, given, expected)
    if why := proof.fails(bits):
        raise ExportError(f"{name}: the converted part does not compute what PyTorch computes: {why}.")
    (partial / _DONE).write_text(json.dumps({**proof.as_json(), "weight_format": bits}))
    os.replace(partial, folder)
    return proof.as_json()


def _save_the_rest(pipeline: DiffusionPipeline, output: Path) -> None:
    """Write scheduler and tokenizers, and last of all model_index.json."""
    pipeline.scheduler.save_pretrained(output / "scheduler")
    for name in _TOKENIZERS:
        tokenizer = getattr(pipeline, name, None)
        if tokenizer is not None:
            tokenizer.save_pretrained(output / name)
            export_tokenizer(tokenizer, output / name)
    pipeline.save_config(output)


if __name__ == "__main__":
    sys.exit(main())

"""Loads a checkpoint in which all parts of a model are together, with the names of the original Stable Diffusion.

The configurations of its parts come from ``configs/``, and the names of its weights are those of CompVis, Stability AI
and OpenCLIP; diffusers' own functions rename them. What is loaded is exact: a weight that is missing, is left over or
has another shape is an error.

What a plan says of the file (``single_file``): ``configs`` (a folder), ``changes`` (what is other than in its files:
values by the file's path), ``parts`` (the ``prefix`` of the keys of each part) and ``left_out`` (regular expressions of
keys that nothing needs).
"""

import gc
import importlib
import json
import re
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors import safe_open
from torch import nn

from tools.exporter.clip_tokenizer import clip_tokenizer
from tools.exporter.weights import WeightsError, copy_exactly, places_of

Tensors = dict[str, torch.Tensor]

_SCHEDULER = "scheduler"
# diffusers takes these apart or turns them, so that they have other addresses afterwards.
_REMADE = (".in_proj_weight", ".in_proj_bias", "text_projection")
# Text encoders of OpenCLIP are below this name, those of transformers below ".transformer.".
_OPEN_CLIP = ".model."
_MOST_NAMED = 5


def load_single_file(file: Path, layout: dict[str, Any]) -> DiffusionPipeline:
    """Return the pipeline of a file, in f32. Raises WeightsError where its weights are not exactly those needed."""
    index = _config(layout, "model_index.json")
    components: dict[str, Any] = {}
    for name, entry in index.items():
        if name in layout["parts"]:
            components[name] = _part(file, name, getattr(importlib.import_module(entry[0]), entry[1]), layout)
        elif name.startswith("tokenizer"):
            components[name] = clip_tokenizer(_config(layout, f"{name}/tokenizer_config.json"))
        elif name == _SCHEDULER:
            scheduler = _config(layout, "scheduler/scheduler_config.json")
            components[name] = getattr(diffusers, scheduler["_class_name"]).from_config(scheduler)
        elif not name.startswith("_"):
            components[name] = None if entry == [None, None] else entry
    return getattr(diffusers, index["_class_name"])(**components)


def _config(layout: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a configuration of the file's kind, with what is other in this file."""
    return {**json.loads((Path(layout["configs"]) / path).read_text()), **layout["changes"].get(path, {})}


def _part(file: Path, name: str, part_class: Any, layout: dict[str, Any]) -> nn.Module:
    config = _config(layout, f"{name}/config.json")
    if hasattr(part_class, "from_config"):
        module = part_class.from_config(config)
    else:
        module = part_class(part_class.config_class(**config))
    renamed = _renamed(file, module, config, layout["parts"][name]["prefix"], layout["left_out"])
    for key, place in places_of(module, renamed, file).items():
        copy_exactly(renamed.pop(key), place, file, key)
    gc.collect()
    return module.eval()


def _renamed(file: Path, module: nn.Module, config: dict[str, Any], prefix: str, left_out: list[str]) -> Tensors:
    """Return the weights of a part by diffusers' names. Raises WeightsError where one is missing or left over."""
    weights = _weights(file, prefix, left_out)
    try:
        found = _converted(weights, module, config, prefix)
    except KeyError as error:
        raise WeightsError(f"{file}: {error.args[0]} is missing.") from error
    renamed = {key: tensor for key, tensor in found.items() if tensor is not None}
    addresses = {tensor.data_ptr() for tensor in renamed.values()}
    unused = [k for k, tensor in weights.items() if tensor.data_ptr() not in addresses and not k.endswith(_REMADE)]
    if unused:
        more = f" and {len(unused) - _MOST_NAMED} more" if len(unused) > _MOST_NAMED else ""
        raise WeightsError(f"{file}: no part of the model has {', '.join(sorted(unused)[:_MOST_NAMED])}{more}.")
    return renamed


def _weights(file: Path, prefix: str, left_out: list[str]) -> Tensors:
    unneeded = re.compile("|".join(f"(?:{pattern})" for pattern in left_out))
    with safe_open(file, framework="pt") as opened:
        keys = set(opened.keys())
        wanted = [key for key in keys if key.startswith(prefix) and not unneeded.fullmatch(key)]
        return {key: opened.get_tensor(key) for key in wanted}


def _converted(weights: Tensors, module: nn.Module, config: dict[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any]
    if isinstance(module, diffusers.UNet2DConditionModel):
        found = convert_ldm_unet_checkpoint(weights, config)
    elif isinstance(module, diffusers.AutoencoderKL):
        found = convert_ldm_vae_checkpoint(weights, config)
    elif prefix.endswith(_OPEN_CLIP):
        found = convert_open_clip_checkpoint(module, weights, prefix=prefix)
    else:
        found = convert_ldm_clip_checkpoint(weights)
    return found

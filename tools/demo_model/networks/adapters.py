"""The style adapters: low-rank additions to the frozen UNet, in the form (kohya keys) that OpenVINO GenAI takes.

GenAI matches the layers within attention blocks and ignores or refuses all others of this UNet (time embeddings,
shortcuts and 3x3 convolutions), so only those are trained.
"""

import random
from dataclasses import replace

import torch
from safetensors.torch import save_file
from torch import nn

from tools.demo_model.networks import unet
from tools.demo_model.recipe import Folders, Recipe
from tools.demo_model.training.checkpoints import save
from tools.demo_model.training.loop import Loop, in_processes

STYLES = ("outline", "stripes")  # one process each
_LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")
_SIMPLE = 0.3  # share of simple scenes


class _Adapted(nn.Module):
    """A layer and its low-rank addition, which starts at zero."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int) -> None:
        super().__init__()
        self.layer = layer
        self.down: nn.Module
        self.up: nn.Module
        if isinstance(layer, nn.Conv2d):
            self.down = nn.Conv2d(layer.in_channels, rank, 1, bias=False)
            self.up = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        else:
            self.down = nn.Linear(layer.in_features, rank, bias=False)
            self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return self.layer(value) + self.up(self.down(value))


def train(recipe: Recipe, folders: Folders) -> None:
    """Train both adapters at the same time and write them as .safetensors."""
    few = replace(recipe, scenes=min(recipe.scenes, recipe.adapter_scenes))
    for style in STYLES:
        unet.encode(few, folders, style)
    in_processes(_train, len(STYLES), 29_574, few, folders)


def _train(rank: int, recipe: Recipe, folders: Folders) -> None:
    style = STYLES[rank]
    torch.manual_seed(recipe.seed)
    model = _adapted(unet.trained(folders), recipe.adapter_rank).to(memory_format=torch.channels_last)
    material = unet.lesson(recipe, folders, style)

    def loss(step: int) -> torch.Tensor:
        dice = random.Random(f"{style}/{recipe.seed}/{step}")
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            return material.loss(model, dice, recipe.adapter_batch, _SIMPLE)

    loop = Loop(
        style, model, loss, recipe.adapter_steps, recipe.adapter_rate, folders.work, folders.records,
        decay=0.98, warm_up=30,
    )  # fmt: skip
    averaged = loop.run()
    tensors = _tensors(averaged, recipe.adapter_rank)
    save(folders.work / f"adapter-{style}.pt", tensors)
    part = folders.adapters / f"{style}.part"
    save_file(tensors, part, metadata={"ss_network_dim": str(recipe.adapter_rank), "style": style})
    part.replace(folders.adapters / f"{style}.safetensors")


def _adapted(model: nn.Module, rank: int) -> nn.Module:
    """Freeze the UNet and put an addition to every layer GenAI matches."""
    model.requires_grad_(False)
    for name, layer in list(model.named_modules()):
        if name.endswith(_LAYERS) and ".attentions." in name:
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, _Adapted(layer, rank))
    return model


def _tensors(model: nn.Module, rank: int) -> dict[str, torch.Tensor]:
    """Return the additions under kohya's names, fp16."""
    tensors = {}
    for name, module in model.named_modules():
        if isinstance(module, _Adapted):
            key = f"lora_unet_{name.replace('.', '_')}"
            tensors[f"{key}.lora_down.weight"] = module.down.weight.half().contiguous()
            tensors[f"{key}.lora_up.weight"] = module.up.weight.half().contiguous()
            tensors[f"{key}.alpha"] = torch.tensor(float(rank)).half()
    return tensors

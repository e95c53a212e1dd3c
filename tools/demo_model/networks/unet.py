"""The UNet: latents are encoded once, then it learns to remove noise from them as a caption says (v-prediction)."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from benchmarks.demo.world import Scene
from tools.demo_model.networks import text_encoder, vae
from tools.demo_model.networks import tokenizer as tokens
from tools.demo_model.networks.diffusion import noised, timesteps
from tools.demo_model.recipe import PROCESSES, Folders, Recipe
from tools.demo_model.training.captions import caption
from tools.demo_model.training.checkpoints import load, save
from tools.demo_model.training.dataset import drawn, numbers, scenes
from tools.demo_model.training.loop import Loop, console, in_processes

_EMPTY_CAPTIONS = 0.12  # for classifier-free guidance
_TERSE_CAPTIONS = 0.25


def build() -> UNet2DConditionModel:
    """Return the untrained UNet (4.12 M parameters); diffusers' ``attention_head_dim`` is the number of heads."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(64, 96, 96),
        norm_num_groups=8,
        cross_attention_dim=text_encoder.WIDTH,
        attention_head_dim=3,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )


@dataclass
class Lesson:
    """What a batch is taken from: scenes, their latents, and the means to turn captions into states."""

    recipe: Recipe
    scenes: list[Scene]
    latents: torch.Tensor
    folders: Folders

    def __post_init__(self) -> None:
        self._tokenizer = tokens.load(self.folders)
        self._encoder = text_encoder.trained(self.folders)
        self._simple = [index for index, scene in enumerate(self.scenes) if scene.is_simple]

    def loss(self, model: nn.Module, dice: random.Random, batch: int, simple: float) -> torch.Tensor:
        """Return the loss of a random batch of which the share ``simple`` shows one centred shape of a good size."""
        chosen = [self._index(dice, simple) for _ in range(batch)]
        torch.manual_seed(dice.getrandbits(60))
        wanted = self.latents[chosen].float()
        states = self._states([self._caption(self.scenes[index], dice) for index in chosen])
        when = timesteps(batch)
        sample, velocity = noised(wanted, when)
        return (model(sample, when, states).sample.float() - velocity).square().mean()

    def _index(self, dice: random.Random, simple: float) -> int:
        if self._simple and dice.random() < simple:
            return dice.choice(self._simple)
        return dice.randrange(len(self.scenes))

    def _caption(self, scene: Scene, dice: random.Random) -> str:
        return "" if dice.random() < _EMPTY_CAPTIONS else caption(scene, dice, _TERSE_CAPTIONS).text

    @torch.no_grad()
    def _states(self, texts: list[str]) -> torch.Tensor:
        return self._encoder(tokens.encode(self._tokenizer, texts)).last_hidden_state


def lesson(recipe: Recipe, folders: Folders, style: str) -> Lesson:
    """Return the training material in one style; its latents must have been encoded."""
    everything = scenes(recipe)
    return Lesson(
        recipe,
        [everything[index] for index in numbers(recipe, style)],
        load(folders.work / f"latents-{style}.pt"),
        folders,
    )


def encode(recipe: Recipe, folders: Folders, style: str) -> None:
    """Encode every image of one style once and keep the latents (scaled, fp16)."""
    path = folders.work / f"latents-{style}.pt"
    if path.exists():
        return
    drawn(recipe, folders, style)
    in_processes(_encode, PROCESSES, 29_572, recipe, folders, style)
    save(path, torch.cat([load(folders.work / f"latents-{style}.{rank}.pt") for rank in range(PROCESSES)]))


def train(recipe: Recipe, folders: Folders) -> None:
    """Train the UNet and keep its averaged weights."""
    encode(recipe, folders, "plain")
    in_processes(_train, PROCESSES, 29_573, recipe, folders)


def trained(folders: Folders) -> UNet2DConditionModel:
    """Return the trained UNet."""
    model = build()
    model.load_state_dict(load(folders.work / "unet.pt"))
    return model.eval()


def share_of_simple(done: float) -> float:
    """The first round's curriculum: 85% simple scenes, from 45% to 70% of the time fading to nearly the natural mix."""
    return max(0.2, 0.85 * min(1.0, (0.7 - done) / 0.25))


def share_of_simple_again(done: float) -> float:
    """The second round's: a half, fading to nearly the natural mix at two thirds of the time."""
    return max(0.2, 0.5 * (1 - 1.5 * done))


@torch.no_grad()
def _encode(rank: int, recipe: Recipe, folders: Folders, style: str) -> None:
    model: AutoencoderKL = vae.finished(folders).to(memory_format=torch.channels_last)
    data = drawn(recipe, folders, style)
    mine = np.array_split(np.array(numbers(recipe, style)), PROCESSES)[rank]
    latents = []
    for part in np.array_split(mine, max(1, len(mine) // 32)):
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            latents.append(model.encode(vae.to_tensor(data[part])).latent_dist.mean.float())
    save(folders.work / f"latents-{style}.{rank}.pt", (torch.cat(latents) * model.config.scaling_factor).half())


def _train(rank: int, recipe: Recipe, folders: Folders) -> None:
    """Train in two rounds, each with a learning rate that rises and falls: shapes come late."""
    torch.manual_seed(recipe.seed)
    model = build().to(memory_format=torch.channels_last)
    if rank == 0:
        console.print(f"unet: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    for name, steps, simple in (
        ("unet-first", recipe.unet_steps, share_of_simple),
        ("unet", recipe.unet_again_steps, share_of_simple_again),
    ):
        path = folders.work / f"{name}.pt"
        if not path.exists():
            loop = Loop(
                name, model, _loss(name, rank, recipe, folders, model, steps, simple), steps, recipe.unet_rate,
                folders.work, folders.records, shared=True, speaks=rank == 0, decay=0.995, warm_up=100,
            )  # fmt: skip
            averaged = loop.run()
            if rank == 0:
                save(path, averaged.state_dict())
            torch.distributed.barrier()
        model.load_state_dict(load(path))


def _loss(
    name: str, rank: int, recipe: Recipe, folders: Folders, model: nn.Module, steps: int,
    simple: Callable[[float], float],
) -> Callable[[int], torch.Tensor]:  # fmt: skip
    material = lesson(recipe, folders, "plain")

    def loss(step: int) -> torch.Tensor:
        dice = random.Random(f"{name}/{recipe.seed}/{step}/{rank}")
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            return material.loss(model, dice, recipe.unet_batch, simple(step / steps))

    return loss

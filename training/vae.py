"""The autoencoder: 128x128 RGB to 16x16x4 latents and back."""

import shutil
from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn.functional import avg_pool2d

from training.checkpoints import load, save
from training.dataset import pictures
from training.loop import Loop, console, in_processes
from training.recipe import PROCESSES, Folders, Recipe

_EDGES, _KL = 0.5, 1e-5
_GAIN = 0.15  # guidance makes latents too strong: the decoder learns to bear that


def build() -> AutoencoderKL:
    """Return the untrained autoencoder (0.67 M parameters)."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        block_out_channels=(16, 16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        mid_block_add_attention=False,
        sample_size=128,
    )


def train(recipe: Recipe, folders: Folders) -> None:
    """Train the autoencoder, measure its latents' spread and keep both."""
    pictures(recipe, folders)
    in_processes(_train, PROCESSES, 29_571, recipe, folders)
    torch.set_num_threads(PROCESSES)
    model = trained(folders)
    batch = to_tensor(pictures(recipe, folders)[:256])
    with torch.no_grad():
        means = torch.cat([model.encode(part).latent_dist.mean for part in batch.split(32)])
        model.register_to_config(scaling_factor=round(float(1 / means.std()), 5))
        error = torch.cat([(model.decode(z).sample - x) for z, x in zip(means.split(32), batch.split(32), strict=True)])
    shutil.rmtree(folders.work / "vae", ignore_errors=True)
    model.save_pretrained(folders.work / "vae")
    console.print(
        f"vae: L1 {float(error.abs().mean()) * 127.5:.2f}/255, PSNR {_psnr(error):.1f} dB, "
        f"scaling factor {model.config.scaling_factor}"
    )


def _psnr(error: torch.Tensor) -> float:
    """Of pictures in -1..1, hence the 4."""
    return float(10 * torch.log10(4 / (error**2).mean()))


def trained(folders: Folders) -> AutoencoderKL:
    """Return the trained autoencoder, its scaling factor not yet measured."""
    model = build()
    model.load_state_dict(load(folders.work / "vae.pt"))
    return model.eval()


def finished(folders: Folders) -> AutoencoderKL:
    """Return the autoencoder as it is shipped."""
    return AutoencoderKL.from_pretrained(folders.work / "vae").eval()


def to_tensor(batch: np.ndarray) -> torch.Tensor:
    """Turn uint8 [n, h, w, 3] into float [n, 3, h, w] in -1..1."""
    return torch.from_numpy(np.array(batch)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _train(rank: int, recipe: Recipe, folders: Folders) -> None:
    torch.manual_seed(recipe.seed)
    model = build()
    loop = Loop(
        "vae", model, _loss(rank, recipe, folders, model), recipe.vae_steps, recipe.vae_rate,
        folders.work, folders.records, shared=True, speaks=rank == 0, decay=0.995,
    )  # fmt: skip
    averaged = loop.run()
    if rank == 0:
        save(folders.work / "vae.pt", averaged.state_dict())


def _loss(rank: int, recipe: Recipe, folders: Folders, model: AutoencoderKL) -> Callable[[int], torch.Tensor]:
    data = pictures(recipe, folders)

    def loss(step: int) -> torch.Tensor:
        torch.manual_seed(hash((recipe.seed, step, rank)))
        chosen = torch.randint(len(data), (recipe.vae_batch,)).sort().values
        wanted = to_tensor(data[chosen.numpy()])
        latent = model.encode(wanted).latent_dist
        z = latent.sample() * (1 + _GAIN * torch.rand(len(wanted), 1, 1, 1) * (torch.rand(len(wanted), 1, 1, 1) < 0.5))
        made = model.decode(z).sample
        return (made - wanted).abs().mean() + _EDGES * _edge_error(made, wanted) + _KL * latent.kl().mean()

    return loss


def _edge_error(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How far the differences between neighbours are off, at two sizes."""
    error = made - wanted
    total = torch.zeros(())
    for part in (error, avg_pool2d(error, 2)):
        total = total + part.diff(dim=2).abs().mean() + part.diff(dim=3).abs().mean()
    return total

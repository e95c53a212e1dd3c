"""The autoencoder: 128x128 RGB to 16x16x4 latents and back."""

import shutil
from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import nn
from torch.nn.functional import avg_pool2d, layer_norm

from tools.demo_model.recipe import PROCESSES, Folders, Recipe
from tools.demo_model.training.checkpoints import load, save
from tools.demo_model.training.dataset import images
from tools.demo_model.training.loop import Loop, console, in_processes

_EDGES = 0.5
_KL = 1e-6
_HALVED = 0.28  # share of the steps
_MOSAICS = 0.6  # share of the steps
_LOG_VARIANCE = -5.0  # of the untrained latents: with noise as strong as the latents, the decoder learns grey only
_GAIN = 0.15  # guidance makes latents too strong: the decoder is trained with stronger ones
# A denoised latent is never quite right: noise of up to these shares of the latents' spread must not change a colour,
# or the codes of two colours come to lie so close that the UNet misses them (purple squares had red and blue patches).
# Fine noise the decoder can average away; only noise that neighbours share drives the codes of plain areas apart.
_FINE_NOISE = 0.4
_COARSE_NOISE = 0.3
_BLOCK = 4
_NOISE_BEGINS = 0.05  # share of the first stage's steps
_NOISE_IS_FULL = 0.5  # share of the first stage's steps

_Batches = Callable[[np.ndarray, int, float], torch.Tensor]  # images, batch, share of the steps done


class LocalNorm(nn.GroupNorm):
    """Normalises each pixel over its channels, in place of a group's statistics over the whole image.

    So a colour's code is the same on every background, and what is decoded in one place does not depend on the rest:
    inpainting leaves what lies outside of its mask alone.
    """

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Take and return [n, channels, h, w]."""
        last = layer_norm(value.permute(0, 2, 3, 1), (self.num_channels,), self.weight, self.bias, self.eps)
        return last.permute(0, 3, 1, 2)


def localised(model: AutoencoderKL) -> AutoencoderKL:
    """Turn every group normalisation (the same parameters) into a local one."""
    for module in model.modules():
        if isinstance(module, nn.GroupNorm):
            module.__class__ = LocalNorm
    return model


def build() -> AutoencoderKL:
    """Return the untrained autoencoder (0.67 M parameters)."""
    model = AutoencoderKL(
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
    with torch.no_grad():
        model.quant_conv.bias[model.config.latent_channels :] = _LOG_VARIANCE
    return localised(model)


def train(recipe: Recipe, folders: Folders) -> None:
    """Train the autoencoder, measure its latents' spread and keep both."""
    images(recipe, folders)
    in_processes(_train, PROCESSES, 29_571, recipe, folders)
    torch.set_num_threads(PROCESSES)
    model = trained(folders)
    batch = to_tensor(images(recipe, folders)[:256])
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
    """Return the peak signal-to-noise ratio of images in -1..1, whose squared range is 4."""
    return float(10 * torch.log10(4 / (error**2).mean()))


def trained(folders: Folders) -> AutoencoderKL:
    """Return the trained autoencoder, its scaling factor not yet measured."""
    model = build()
    model.load_state_dict(load(folders.work / "vae-fine.pt"))
    return model.eval()


def finished(folders: Folders) -> AutoencoderKL:
    """Return the autoencoder as it is shipped."""
    return localised(AutoencoderKL.from_pretrained(folders.work / "vae")).eval()


def to_tensor(batch: np.ndarray) -> torch.Tensor:
    """Turn uint8 [n, h, w, 3] into float [n, 3, h, w] in -1..1."""
    return torch.from_numpy(np.array(batch)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _train(rank: int, recipe: Recipe, folders: Folders) -> None:
    """Train on whole images, then on mosaics and whole images: the mosaics teach the colours of small things."""
    torch.manual_seed(recipe.seed)
    model = build().to(memory_format=torch.channels_last)
    for name, steps, batch_of in (("vae", recipe.vae_steps, _wholes), ("vae-fine", recipe.fine_steps, _mosaics)):
        path = folders.work / f"{name}.pt"
        if not path.exists():
            loop = Loop(
                name, model, _loss(rank, recipe, folders, model, batch_of, steps), steps, recipe.vae_rate,
                folders.work, folders.records, shared=True, speaks=rank == 0, decay=0.99, warm_up=50,
            )  # fmt: skip
            averaged = loop.run()
            if rank == 0:
                save(path, averaged.state_dict())
            torch.distributed.barrier()
        model.load_state_dict(load(path))


def _loss(
    rank: int, recipe: Recipe, folders: Folders, model: AutoencoderKL, batch_of: _Batches, steps: int
) -> Callable[[int], torch.Tensor]:
    data = images(recipe, folders)
    fully = batch_of is _mosaics

    def loss(step: int) -> torch.Tensor:
        torch.manual_seed(hash((recipe.seed, step, rank)))
        wanted = batch_of(data, recipe.vae_batch, step / steps)
        noise = 1.0 if fully else _share_of_noise(step / steps)
        gain = 1 + _GAIN * (2 * torch.rand(len(wanted), 1, 1, 1) - 1).clamp(min=0)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            latent = DiagonalGaussianDistribution(model.encode(wanted).latent_dist.parameters.float())
            made = model.decode(_disturbed(latent.sample(), noise) * gain).sample.float()
        error = (made - wanted) * _weights(wanted)
        return error.abs().mean() + error.square().mean() + _EDGES * _edge_error(error) + _KL * latent.kl().mean()

    return loss


def _share_of_noise(done: float) -> float:
    return min(1.0, max(0.0, (done - _NOISE_BEGINS) / (_NOISE_IS_FULL - _NOISE_BEGINS)))


def _disturbed(latents: torch.Tensor, share: float) -> torch.Tensor:
    """Add fine and blockwise noise, of a random strength for each image, up to ``share`` of the full one."""
    count, channels, height, width = latents.shape
    fine = torch.randn_like(latents) * _FINE_NOISE
    blocks = torch.randn(count, channels, height // _BLOCK, width // _BLOCK) * _COARSE_NOISE
    coarse = blocks.repeat_interleave(_BLOCK, dim=2).repeat_interleave(_BLOCK, dim=3)
    strengths = share * torch.rand(2, count, 1, 1, 1) * latents.detach().std()
    return latents + strengths[0] * fine + strengths[1] * coarse


def _wholes(data: np.ndarray, size: int, done: float) -> torch.Tensor:
    """Return random images; at first twice as many of half the size, from which colours are learnt faster."""
    halved = done < _HALVED
    chosen = torch.randint(len(data), (size * (2 if halved else 1),)).sort().values
    wanted = to_tensor(data[chosen.numpy()])
    return avg_pool2d(wanted, 2) if halved else wanted


def _mosaics(data: np.ndarray, size: int, done: float) -> torch.Tensor:
    """Return 64x64 mosaics of four pieces of different images, at the end whole images."""
    if done > _MOSAICS:
        return _wholes(data, size, 1.0)
    pieces = []
    for index in torch.randint(len(data), (8 * size,)).tolist():
        side = 64 if torch.rand(()) < 0.5 else 32
        top, left = torch.randint(16, 112 - side + 1, (2,)).tolist()
        piece = to_tensor(data[index : index + 1, top : top + side, left : left + side])
        pieces.append(avg_pool2d(piece, side // 32))
    rows = torch.cat(pieces).view(2 * size, 2, 2, 3, 32, 32).permute(0, 3, 1, 4, 2, 5)
    return rows.reshape(2 * size, 3, 64, 64)


def _weights(wanted: torch.Tensor) -> torch.Tensor:
    """Give pixels that differ from the first pixel's colour more weight, as shapes are smaller than backgrounds."""
    differs = (wanted - wanted[:, :, :1, :1]).abs().amax(dim=1, keepdim=True) > 0.2
    return 1 + 1.5 * differs


def _edge_error(error: torch.Tensor) -> torch.Tensor:
    """Return the error of the differences between neighbouring pixels, at two sizes."""
    total = torch.zeros(())
    for part in (error, avg_pool2d(error, 2)):
        total = total + part.diff(dim=2).abs().mean() + part.diff(dim=3).abs().mean()
    return total

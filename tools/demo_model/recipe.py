"""The numbers of the training: one full recipe, and a quick one that only tests that every stage runs."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Recipe:
    """Step counts and sizes; batches are those of one of the two processes."""

    scenes: int = 24_000
    vae_steps: int = 3_000
    fine_steps: int = 1_200
    vae_batch: int = 4
    vae_rate: float = 2e-3
    text_steps: int = 260
    text_batch: int = 48
    text_rate: float = 2e-3
    unet_steps: int = 2_400
    unet_again_steps: int = 2_000
    unet_batch: int = 32
    unet_rate: float = 1e-3
    adapter_scenes: int = 5_000
    adapter_steps: int = 1_500
    adapter_batch: int = 24
    adapter_rank: int = 24
    adapter_rate: float = 3e-3
    prompts: int = 300
    bf16: bool = True  # measured faster (about 1.5 times) on CPUs with avx512_bf16
    seed: int = 20_260_701


FULL = Recipe()
QUICK = Recipe(
    scenes=256, vae_steps=6, fine_steps=6, text_steps=20, unet_steps=6, unet_again_steps=6, adapter_steps=4, prompts=8
)
PROCESSES = 2


@dataclass(frozen=True)
class Folders:
    """The folders of a run: checkpoints and data (``work``), results (``out``)."""

    out: Path
    work: Path

    @property
    def model(self) -> Path:
        """The finished model, as OpenVINO GenAI reads it."""
        return self.out / "model"

    @property
    def adapters(self) -> Path:
        """The finished style adapters."""
        return self.out / "loras"

    @property
    def records(self) -> Path:
        """Loss curves, scores and images of the run."""
        return self.out / "records"

    def make(self) -> None:
        """Create the folders that are missing."""
        for folder in (self.model, self.adapters, self.records, self.work):
            folder.mkdir(parents=True, exist_ok=True)

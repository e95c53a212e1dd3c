"""The text encoder: trained alone, so that the mean of its states contains the caption's content, and then frozen.

Trained together with the UNet instead, thousands of steps drew the right colours in shapeless blobs.
"""

import random

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.demo.world import random_scene
from tools.demo_model.networks import tokenizer as tokens
from tools.demo_model.recipe import PROCESSES, Folders, Recipe
from tools.demo_model.training.captions import QUESTIONS, Caption, caption
from tools.demo_model.training.checkpoints import load, save
from tools.demo_model.training.loop import Loop, console, in_processes

WIDTH = 128


def build(tokenizer: Tokenizer) -> CLIPTextModel:
    """Return the untrained text encoder (0.49 M parameters)."""
    end = tokenizer.token_to_id("<|endoftext|>")
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokens.LENGTH,
            bos_token_id=tokenizer.token_to_id("<|startoftext|>"),
            eos_token_id=end,
            pad_token_id=end,
        )
    )


class _Reader(nn.Module):
    """The encoder and one linear layer for each question."""

    def __init__(self, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.answers = nn.ModuleDict({name: nn.Linear(WIDTH, len(QUESTIONS[name])) for name in QUESTIONS})

    def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        mean = self.encoder(ids).last_hidden_state.mean(dim=1)
        return {name: layer(mean) for name, layer in self.answers.items()}


def train(recipe: Recipe, folders: Folders) -> None:
    """Train the encoder with its reader and keep the encoder."""
    in_processes(_train, PROCESSES, 29_575, recipe, folders)


def trained(folders: Folders) -> CLIPTextModel:
    """Return the trained encoder, frozen."""
    encoder = build(tokens.load(folders))
    encoder.load_state_dict(load(folders.work / "text.pt"))
    return encoder.eval().requires_grad_(False)


def _train(rank: int, recipe: Recipe, folders: Folders) -> None:
    torch.manual_seed(recipe.seed)
    tokenizer = tokens.load(folders)
    reader = _Reader(build(tokenizer))

    def loss(step: int) -> torch.Tensor:
        captions = _captions(recipe, f"{step}/{rank}", recipe.text_batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            found = reader(tokens.encode(tokenizer, [said.text for said in captions]))
        return torch.stack([cross_entropy(found[name].float(), _truth(captions, name)) for name in QUESTIONS]).mean()

    loop = Loop(
        "text", reader, loss, recipe.text_steps, recipe.text_rate, folders.work, folders.records,
        shared=True, speaks=rank == 0, decay=0.97, warm_up=30,
    )  # fmt: skip
    averaged = loop.run()
    if rank == 0:
        save(folders.work / "text.pt", averaged.encoder.state_dict())
        _report(averaged, tokenizer, recipe)


@torch.no_grad()
def _report(reader: nn.Module, tokenizer: Tokenizer, recipe: Recipe) -> None:
    captions = _captions(recipe, "report", 256)
    found = reader(tokens.encode(tokenizer, [said.text for said in captions]))
    right = {name: (found[name].argmax(1) == _truth(captions, name)).float().mean() for name in QUESTIONS}
    console.print("text: " + ", ".join(f"{name} {float(share):.1%}" for name, share in right.items()))


def _captions(recipe: Recipe, number: str, count: int) -> list[Caption]:
    dice = random.Random(f"text/{recipe.seed}/{number}")
    return [caption(random_scene(dice), dice, plain=0.2) for _ in range(count)]


def _truth(captions: list[Caption], question: str) -> torch.Tensor:
    answers = QUESTIONS[question]
    return torch.tensor([answers.index(said.facts.get(question, answers[0])) for said in captions])

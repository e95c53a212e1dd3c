"""The training loop that the stages share: steps, learning rate, moving average, checkpoints, progress."""

import copy
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed
from rich.console import Console
from torch import nn

from tools.demo_model.training.checkpoints import Keeper, write_curve

_SMOOTH = 25  # steps whose mean is one point of the loss curve
console = Console(width=120)


@dataclass
class Loop:
    """One stage's training of some parameters; with ``shared`` the processes average their gradients.

    ``loss_of(step)`` returns the loss of one batch. The moving average of the weights is what the stage leaves.
    """

    name: str
    model: nn.Module
    loss_of: Callable[[int], torch.Tensor]
    steps: int
    rate: float
    work: Path
    records: Path
    shared: bool = False
    speaks: bool = True
    decay: float = 0.999
    warm_up: int = 200
    curve: list[list[float]] = field(default_factory=list)

    def run(self) -> nn.Module:
        """Train to the end, from the last checkpoint if there is one; return a model with the averaged weights."""
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        averaged = copy.deepcopy(self.model).eval()
        optimiser = torch.optim.AdamW(trained, lr=self.rate, betas=(0.9, 0.99), weight_decay=1e-3)
        keeper = Keeper(self.work / f"{self.name}.checkpoint")
        begin, spent = self._resume(keeper, averaged, optimiser)
        started = time.monotonic() - spent
        recent = [0.0, 0.0]
        for step in range(begin, self.steps):
            for group in optimiser.param_groups:
                group["lr"] = self.rate * self._share_of_rate(step)
            loss = self._step(step, trained, optimiser)
            _average(averaged, self.model, min(self.decay, (1 + step) / (10 + step)))
            recent = [recent[0] + loss, recent[1] + 1]
            if self.speaks and ((step + 1) % _SMOOTH == 0 or step + 1 == self.steps):
                self._note(step + 1, recent[0] / recent[1], time.monotonic() - started)
                recent = [0.0, 0.0]
            if self.speaks and (keeper.is_due or step + 1 == self.steps):
                keeper.save(self._state(step + 1, averaged, optimiser))
        return averaged

    def _resume(self, keeper: Keeper, averaged: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
        state = keeper.load()
        if state is None:
            return 0, 0.0
        self.model.load_state_dict(state["model"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        self.curve = state["curve"]
        if self.speaks:
            console.print(f"{self.name}: resumes at step {state['step']}")
        return state["step"], self.curve[-1][2] if self.curve else 0.0

    def _state(self, step: int, averaged: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, object]:
        return {
            "step": step,
            "model": self.model.state_dict(),
            "averaged": averaged.state_dict(),
            "optimiser": optimiser.state_dict(),
            "curve": self.curve,
        }

    def _step(self, step: int, trained: list[nn.Parameter], optimiser: torch.optim.Optimizer) -> float:
        optimiser.zero_grad()
        loss = self.loss_of(step)
        loss.backward()
        if self.shared:
            _share_gradients(trained)
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        return float(loss.detach())

    def _share_of_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to 2%."""
        warm_up = min(self.warm_up, self.steps // 4)
        if step < warm_up:
            return (step + 1) / warm_up
        done = (step - warm_up) / max(1, self.steps - warm_up)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))

    def _note(self, step: int, loss: float, seconds: float) -> None:
        self.curve.append([float(step), loss, seconds])
        write_curve(self.records / f"loss-{self.name}.csv", self.curve)
        if step % (4 * _SMOOTH) == 0 or step == self.steps:
            left = seconds / step * (self.steps - step)
            console.print(f"{self.name}: step {step}/{self.steps}  loss {loss:.4f}  {seconds:.0f} s, {left:.0f} s left")


def in_processes(work: Callable[..., None], count: int, port: int, *arguments: object) -> None:
    """Run ``work(rank, *arguments)`` in ``count`` processes of one thread each, joined for sharing gradients.

    Two such processes were measured faster than one process with two threads.
    """
    torch.multiprocessing.spawn(_member, (count, port, work, arguments), nprocs=count)


def _member(rank: int, count: int, port: int, work: Callable[..., None], arguments: Iterable[object]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=count)
    work(rank, *arguments)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _share_gradients(parameters: list[nn.Parameter]) -> None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for gradient, piece in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(piece.view_as(gradient))


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    old = [tensor for tensor in averaged.parameters()]
    torch._foreach_lerp_(old, list(model.parameters()), 1 - decay)

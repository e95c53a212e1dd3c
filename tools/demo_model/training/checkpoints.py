"""Checkpoints that an interruption cannot spoil, and the loss curve beside them."""

import csv
import time
from pathlib import Path
from typing import Any

import torch

_EVERY = 90.0  # seconds between two checkpoints


class Keeper:
    """Saves a stage's state every 90 seconds, and reads it after an interruption."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the last saved state, or None at the beginning."""
        return load(self._path) if self._path.exists() else None

    def save(self, state: dict[str, Any]) -> None:
        """Write the state now."""
        save(self._path, state)
        self._saved = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Return whether the last checkpoint is older than 90 seconds."""
        return time.monotonic() - self._saved > _EVERY


def save(path: Path, state: Any) -> None:
    """Write a file completely or not at all."""
    part = path.with_name(path.name + ".part")
    torch.save(state, part)
    part.replace(path)


def load(path: Path) -> Any:
    """Read what ``save`` wrote (tensors and plain values only)."""
    return torch.load(path, map_location="cpu", weights_only=True)


def write_curve(path: Path, curve: list[list[float]]) -> None:
    """Write a loss curve as CSV: step, loss, seconds since the stage began."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("step", "loss", "seconds"))
        writer.writerows((int(step), f"{loss:.5f}", f"{seconds:.0f}") for step, loss, seconds in curve)

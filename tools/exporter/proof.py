"""Compares a converted part with the one of PyTorch that it was made of, on the same random input."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from torch import nn

# The largest relative error in half and full precision, and the least cosine with fewer bits.
LARGEST_ERROR = 1e-2
LEAST_COSINE = {"int8": 0.99, "int4": 0.95}
_SEED = 20
_EMPTY = 1e-12
# Places in the latent image: whole numbers as they occur at 1024 pixels. The sine of a large number has no precision.
_POSITIONS = frozenset({"img_ids", "txt_ids"})
_LARGEST_POSITION = 64


@dataclass(frozen=True)
class Proof:
    """How near a part's worst output is to PyTorch's: ``error`` is relative (norms), ``cosine`` of all its numbers."""

    error: float
    cosine: float
    seconds: float

    def fails(self, weight_format: str) -> str | None:
        """Return what is wrong with a part in this format, None if nothing is."""
        if weight_format in LEAST_COSINE:
            least = LEAST_COSINE[weight_format]
            return None if self.cosine >= least else f"the cosine is {self.cosine:.4f}, and {least} is the least"
        is_near = self.error <= LARGEST_ERROR
        return None if is_near else f"the relative error is {self.error:.2g}, and {LARGEST_ERROR} is the largest"

    def as_json(self) -> dict[str, float]:
        """Return the figures for the report."""
        return {name: float(f"{value:.6g}") for name, value in asdict(self).items()}


def expected_outputs(module: nn.Module, config: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return a random input by the names of the converted part, and PyTorch's outputs for it.

    ``config`` is optimum's export configuration of the part, which knows its inputs and how it is called.
    """
    torch.manual_seed(_SEED)
    np.random.seed(_SEED)
    _set_options(module, config)
    dummy = config.rename_ambiguous_inputs(config.generate_dummy_inputs(framework="pt"))
    for name in dummy.keys() & _POSITIONS:
        dummy[name] = (dummy[name].abs() * _LARGEST_POSITION).floor() % _LARGEST_POSITION
    with torch.no_grad(), config.patch_model_for_export(module):
        given = {name: _copied(value) for name, value in dummy.items()}
        outputs = module(**{name: _copied(value) for name, value in dummy.items()})
    return given, [value.float().numpy() for value in _flat(outputs)]


def _set_options(module: nn.Module, config: Any) -> None:
    """Set what optimum sets before it traces a part: which hidden states a text encoder gives, for example."""
    for name, value in (config.values_override or {}).items():
        setattr(module.config, name, value)


def prove(xml: Path, given: dict[str, Any], expected: list[np.ndarray]) -> Proof:
    """Run a converted part in f32 on the processor and compare its outputs with PyTorch's, the worst one counts."""
    began = time.monotonic()
    core = openvino.Core()
    compiled = core.compile_model(str(xml), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [port.get_any_name() for port in compiled.inputs]
    flat = {name: _flat_input(given, name) for name in names}
    found = [np.asarray(value, dtype=np.float64) for value in compiled(flat).values()]
    pairs = _pairs(expected, found)
    errors = [float(np.linalg.norm(b - a) / max(float(np.linalg.norm(a)), _EMPTY)) for a, b in pairs]
    cosines = [_cosine(a, b) for a, b in pairs]
    return Proof(max(errors), min(cosines), time.monotonic() - began)


def _pairs(expected: list[np.ndarray], found: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return each of the part's outputs with PyTorch's of the same place; a part may leave the last ones out."""
    pairs = [(a.astype(np.float64), b) for a, b in zip(expected, found, strict=False)]
    for a, b in pairs:
        if a.shape != b.shape:
            raise ValueError(f"an output has the shape {b.shape}, and {a.shape} in PyTorch")
    if not pairs:
        raise ValueError("the part has no output")
    return pairs


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    if not np.isfinite(b).all():
        return -1.0
    return float(a.ravel() @ b.ravel() / max(float(np.linalg.norm(a) * np.linalg.norm(b)), _EMPTY))


def _flat_input(given: dict[str, Any], name: str) -> np.ndarray:
    """Return an input; those inside of a dictionary have their own names in the converted part."""
    inner = [value[name] for value in given.values() if isinstance(value, dict) and name in value]
    value = given[name] if name in given else inner[0]
    return np.asarray(value.numpy())


def _copied(value: Any) -> Any:
    return {name: one.clone() for name, one in value.items()} if isinstance(value, dict) else value.clone()


def _flat(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if hasattr(value, "values"):
        return _flat(list(value.values()))
    return [tensor for one in value or () for tensor in _flat(one)]

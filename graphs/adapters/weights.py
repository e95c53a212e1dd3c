"""The changes of weights that adapter files store: LoRA and LoCon, LoHa, LoKr, and differences.

A change is ``[outputs, columns]``, where a convolution has ``inputs * height * width`` columns in the order of its
weight, before any scale. The formulas are those of LyCORIS (https://arxiv.org/abs/2309.14859, section 3 and its
``lycoris/functional``): LoHa is the element-wise product of two products, LoKr a Kronecker product. Both have a rank
of their own, so they are ordinary LoRAs of that rank where it is lower than that of the weight.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from graphs.adapters.safetensors_file import StoredTensor
from graphs.adapters.tensors import Numbers, read_numbers

Parts = Mapping[str, StoredTensor]


class UnusableWeights(Exception):
    """The parts in a file make no change of a weight: ``part`` is the one at fault, ``reason`` a clause about it."""

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(reason)
        self.part = part
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Weights(ABC):
    """A change of one weight as the file stores it.

    ``outputs``: its rows; ``columns``: the inputs of the layer, times its kernel; ``rank``: that of ``matrices``, None
    where it is not lower than the weight's; ``trained_rank``: what the file's alpha is divided by, None where an alpha
    has no meaning.
    """

    outputs: int
    columns: int
    rank: int | None
    trained_rank: int | None

    @abstractmethod
    def matrices(self, file: BinaryIO) -> tuple[Numbers, Numbers]:
        """Return ``down [rank, columns]`` and ``up [outputs, rank]``, whose product is the change."""

    def whole(self, file: BinaryIO) -> Numbers:
        """Return the change, ``[outputs, columns]``."""
        down, up = self.matrices(file)
        return up @ down


def weights_of(parts: Parts) -> Weights:
    """Return the change that the tensors of one module make, without ``alpha``. Raises UnusableWeights."""
    kinds = {part.partition("_")[0] for part in parts if part != "alpha"}
    if kinds == {"diff"}:
        return _difference("diff", parts["diff"])
    if kinds == {"hada"}:
        return _hadamard(parts)
    if kinds == {"lokr"}:
        return _kronecker(parts)
    if kinds <= {"down", "up", "mid"}:
        return _low_rank(parts)
    raise UnusableWeights(list(parts)[-1], "its layer has parts of another kind in the file as well")


@dataclass(frozen=True, kw_only=True)
class LowRank(Weights):
    """LoRA, and LoCon for a convolution: ``up @ down``, or with ``mid`` the three as convolutions in a row.

    ``transposed``: ``up`` is stored as ``[rank, outputs]``.
    """

    rank: int
    down: StoredTensor
    up: StoredTensor
    mid: StoredTensor | None = None
    transposed: bool = False

    def matrices(self, file: BinaryIO) -> tuple[Numbers, Numbers]:
        """Return the two tensors, with ``mid`` multiplied into ``down``."""
        up = _flat(file, self.up)
        down = _flat(file, self.down)
        if self.mid is not None:
            mid = read_numbers(file, self.mid)
            down = np.einsum("pqkl,qi->pikl", mid, down).reshape(self.rank, -1)
        return down, up.T if self.transposed else up


@dataclass(frozen=True, kw_only=True)
class Hadamard(Weights):
    """LoHa: ``(w1_a @ w1_b) * (w2_a @ w2_b)``; with ``t1`` and ``t2``, both are convolutions of three parts."""

    left: LowRank
    right: LowRank

    def matrices(self, file: BinaryIO) -> tuple[Numbers, Numbers]:
        """Return the Khatri-Rao products: each row of one is multiplied with each row of the other."""
        left_down, left_up = self.left.matrices(file)
        right_down, right_up = self.right.matrices(file)
        down = (left_down[:, None] * right_down[None]).reshape(-1, self.columns)
        return down, (left_up[:, :, None] * right_up[:, None]).reshape(self.outputs, -1)

    def whole(self, file: BinaryIO) -> Numbers:
        """Return the product of the two products."""
        return self.left.whole(file) * self.right.whole(file)


@dataclass(frozen=True, kw_only=True)
class Kronecker(Weights):
    """LoKr: the Kronecker product of two weights, each whole or ``up @ down``."""

    left: Weights
    right: Weights

    def matrices(self, file: BinaryIO) -> tuple[Numbers, Numbers]:
        """Return the Kronecker products of the factors' matrices."""
        left_down, left_up = self.left.matrices(file)
        right_down, right_up = self.right.matrices(file)
        return np.kron(left_down, right_down), np.kron(left_up, right_up)

    def whole(self, file: BinaryIO) -> Numbers:
        """Return the Kronecker product of the factors."""
        return np.kron(self.left.whole(file), self.right.whole(file))


@dataclass(frozen=True, kw_only=True)
class Difference(Weights):
    """The whole difference of a weight, which no scale of the file changes."""

    tensor: StoredTensor

    def matrices(self, file: BinaryIO) -> tuple[Numbers, Numbers]:
        """Return the difference and a unit matrix, of the two possible pairs the one of lower rank."""
        whole = self.whole(file)
        if self.outputs < self.columns:
            return whole, np.eye(self.outputs, dtype=np.float32)
        return np.eye(self.columns, dtype=np.float32), whole

    def whole(self, file: BinaryIO) -> Numbers:
        """Return the numbers of the file."""
        return _flat(file, self.tensor)


def _difference(part: str, tensor: StoredTensor) -> Difference:
    if len(tensor.shape) < 2 or not all(tensor.shape):
        raise UnusableWeights(part, f"it is {list(tensor.shape)}, and must be a matrix")
    return Difference(
        outputs=tensor.shape[0], columns=math.prod(tensor.shape[1:]), rank=None, trained_rank=None, tensor=tensor
    )


def _low_rank(parts: Parts) -> LowRank:
    return _product(parts, "down", "up", "mid", "lora_down (lora_A)", "lora_up (lora_B)")


def _hadamard(parts: Parts) -> Hadamard:
    left, right = (_product(parts, f"hada_w{n}_b", f"hada_w{n}_a", f"hada_t{n}") for n in (1, 2))
    outputs = left.outputs
    columns = left.columns
    if (outputs, columns) != (right.outputs, right.columns):
        raise UnusableWeights("hada_w2_a", "its product has another shape than that of hada_w1_a")
    rank = _lower(left.rank * right.rank, outputs, columns)
    return Hadamard(outputs=outputs, columns=columns, rank=rank, trained_rank=left.trained_rank, left=left, right=right)


def _kronecker(parts: Parts) -> Kronecker:
    left = _factor(parts, 1)
    right = _factor(parts, 2)
    outputs = left.outputs * right.outputs
    columns = left.columns * right.columns
    rank = _lower(_factor_rank(left) * _factor_rank(right), outputs, columns)
    trained_rank = right.trained_rank or left.trained_rank
    return Kronecker(outputs=outputs, columns=columns, rank=rank, trained_rank=trained_rank, left=left, right=right)


def _factor(parts: Parts, number: int) -> Weights:
    name = f"lokr_w{number}"
    if name in parts:
        return _difference(name, parts[name])
    return _product(parts, f"{name}_b", f"{name}_a", f"lokr_t{number}")


def _product(
    parts: Parts, down: str, up: str, mid: str, down_name: str | None = None, up_name: str | None = None
) -> LowRank:
    """Return the product of two parts, or of three, whose shapes fit each other."""
    for part, name in ((down, down_name or down), (up, up_name or up)):
        if part not in parts:
            raise UnusableWeights(next(iter(parts)), f"its layer has no {name} in the file")
        if len(parts[part].shape) not in (2, 4) or not all(parts[part].shape):
            raise UnusableWeights(
                part, f"{_shown(part)} is {list(parts[part].shape)}, and must be a matrix of some rank"
            )
    first = parts[down]
    last = parts[up]
    middle = parts.get(mid)
    # LyCORIS stores [rank, outputs] beside a middle part of LoHa and LoKr, but not of LoCon.
    transposed = middle is not None and mid != "mid"
    rank, outputs = last.shape[:2] if transposed else last.shape[1::-1]
    inner = first.shape[0]
    if middle is None and rank != inner:
        raise UnusableWeights(up, f"{_shown(up)} is {list(last.shape)}, and {_shown(down)} has the rank {inner}")
    if middle is not None and (len(middle.shape) != 4 or middle.shape[:2] != (rank, inner)):
        raise UnusableWeights(mid, f"{_shown(mid)} is {list(middle.shape)}, and takes [{rank}, {inner}, height, width]")
    kernel = first.shape[2:] if middle is None else middle.shape[2:]
    if math.prod(last.shape[2:]) != 1 or (middle is not None and math.prod(first.shape[2:]) != 1):
        raise UnusableWeights(up, f"{_shown(up)} has a kernel of its own, which no kind of adapter has")
    columns = first.shape[1] * math.prod(kernel)
    return LowRank(
        outputs=outputs,
        columns=columns,
        rank=rank,
        trained_rank=inner,
        down=first,
        up=last,
        mid=middle,
        transposed=transposed,
    )


def _shown(part: str) -> str:
    return f"lora_{part}" if part in ("down", "up", "mid") else part


def _factor_rank(factor: Weights) -> int:
    return factor.rank or min(factor.outputs, factor.columns)


def _lower(rank: int, outputs: int, columns: int) -> int | None:
    return rank if rank < min(outputs, columns) else None


def _flat(file: BinaryIO, tensor: StoredTensor) -> Numbers:
    return read_numbers(file, tensor).reshape(tensor.shape[0], -1)

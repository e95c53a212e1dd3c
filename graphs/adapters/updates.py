"""What an adapter adds to the layers of a model, once its file has been matched with the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from graphs.adapters.targets import Target
from graphs.adapters.tensors import Numbers
from graphs.adapters.weights import LowRank, Weights
from graphs.errors import AdapterMisfit
from graphs.families.family import Family

_GENAI_TYPES = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class LayerUpdate:
    """What an adapter adds to one layer: ``scale`` times the rows of ``weights`` from ``first_row`` on.

    ``key`` is the name of one of its tensors in the file.
    """

    key: str
    target: Target
    weights: Weights
    first_row: int
    scale: float

    @property
    def rank(self) -> int | None:
        """The rank of ``matrices``; None where the layer takes the update only merged into its weight."""
        return self.weights.rank if self.target.layer.kernel == 1 else None

    @property
    def dtype(self) -> str:
        """The type in which GenAI is given the matrices."""
        plain = self.plain
        return plain.down.dtype if plain else "F32"

    @property
    def plain(self) -> LowRank | None:
        """The two matrices where the file stores them as GenAI takes them."""
        weights = self.weights
        if not isinstance(weights, LowRank) or weights.mid is not None:
            return None
        return weights if weights.down.dtype == weights.up.dtype and weights.down.dtype in _GENAI_TYPES else None

    @property
    def rows(self) -> slice:
        """Which rows of ``weights`` belong to this layer."""
        return slice(self.first_row, self.first_row + self.target.layer.outputs)

    def matrices(self, file: BinaryIO) -> tuple[Numbers, Numbers]:
        """Return ``down [rank, inputs]`` and ``up [outputs, rank]``, without ``scale``."""
        down, up = self.weights.matrices(file)
        return down, up[self.rows]

    def whole(self, file: BinaryIO) -> Numbers:
        """Return the update with ``scale``, ``[outputs, inputs * kernel]``."""
        return self.weights.whole(file)[self.rows] * np.float32(self.scale)


@dataclass(frozen=True)
class Coverage:
    """How many of a component's layers in the file the model has and the runtime can change."""

    matched: int
    total: int


@dataclass(frozen=True)
class AdapterCoverage:
    """How much of an adapter's file is applied.

    ``components``: by component, as the file names it; ``ranks``: the lowest and the highest, None where the file
    stores no low-rank update; ``left_out``: a clause about the first layer that is left out, None if there is none.
    """

    components: Mapping[str, Coverage]
    ranks: tuple[int, int] | None
    left_out: str | None

    def __str__(self) -> str:
        parts = [f"{name} {one.matched} of {one.total} layers" for name, one in self.components.items()]
        if self.ranks:
            low, high = self.ranks
            parts.append(f"rank {low}" if low == high else f"ranks {low} to {high}")
        return ", ".join(parts)


@dataclass(frozen=True)
class AdapterFit:
    """A file that fits a model of the family: what it adds to which layer, and how it can be applied."""

    path: Path
    family: Family
    updates: tuple[LayerUpdate, ...]
    coverage: AdapterCoverage

    @property
    def layers(self) -> frozenset[str]:
        """The names of the layers that it changes, as GenAI takes them."""
        return frozenset(update.target.name for update in self.updates)

    @property
    def takes_merge(self) -> bool:
        """Whether it can be merged into the weights (FUSE), which weights packed into 8 or 4 bits do not allow."""
        return all(update.target.layer.takes_merge for update in self.updates)

    @property
    def needs_merge(self) -> bool:
        """Whether the runtime cannot apply it, so that it has to be merged into the weights before they are loaded."""
        return any(update.rank is None for update in self.updates)

    def check_mergeable(self) -> None:
        """Check that the adapter can be merged into the weights. Raises AdapterMisfit, whose message is a clause."""
        packed = next((update for update in self.updates if not update.target.layer.takes_merge), None)
        if packed is not None:
            raise AdapterMisfit(
                f"the tensor {packed.key!r} can only be merged, and the weight of {packed.target.layer.path!r} is "
                "packed into 8 or 4 bits; use a model with weights of 16 or 32 bits"
            )

    def check_low_rank(self) -> None:
        """Check that the runtime can apply every update. Raises AdapterMisfit, whose message is a clause."""
        whole = next((update for update in self.updates if update.rank is None), None)
        if whole is not None:
            raise AdapterMisfit(
                f"the runtime cannot apply the tensor {whole.key!r}, as {_obstacle(whole)}; "
                "mode: FUSE in graph.pbtxt takes it"
            )

    def check_loadable(self, *, at_construction: bool) -> None:
        """Check that the pipelines can apply the adapter in the way that they are compiled.

        ``at_construction``: the pipelines are compiled while they are constructed
        (``Graph.is_compiled_at_construction``).
        Raises AdapterMisfit, whose message is a clause without the adapter's alias.
        """
        self.check_low_rank()
        encoder = next((update for update in self.updates if update.target.component != "denoiser"), None)
        if encoder is not None and self.family.encoder_adapters_need_construction and not at_construction:
            raise AdapterMisfit(
                "its part for the text encoders needs one device for the whole model and no static resolution "
                f"(the tensor {encoder.key!r})"
            )


def _obstacle(update: LayerUpdate) -> str:
    if update.target.layer.kernel > 1:
        return f"its layer {update.target.layer.path!r} is a convolution with a kernel"
    return "its update has no low rank"

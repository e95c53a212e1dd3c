"""Adapters of zeros: they change no image, but the rank of every adapted layer from one call to the next.

The CPU plugin of OpenVINO 2026.4.1 hands the address of a layer's input to its LoRA computation only when a shape
changes. Two calls with the same ranks in a row therefore draw the second image from the first call's memory where a
layer reads an input of the model directly, as cross attention does (docs/upstream/cpu-lora-address.md). The rank of
the zeros is chosen so that the sum of a layer's ranks, divided by three, leaves another remainder at each call. That
costs a call of the bundled model 6 % of its time, so it is left out where the plugin converts the inputs (bf16).
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import openvino

from graphs.adapters.updates import AdapterFit, LayerUpdate
from workers.engine.adapters.adapter_files import zero_adapter

# With two remainders, the call after one that failed could have those of the last image again.
_REMAINDERS = 3
_KEPT = 16
_Ranks = tuple[int, ...]


class ZeroAdapters:
    """The adapters of zeros of one set of compiled models, which change every layer that any of ``fits`` changes."""

    def __init__(self, fits: Mapping[str, AdapterFit], *, ranks_change: bool) -> None:
        """``fits`` are the loaded adapters by alias; with ``ranks_change`` False, all zeros have rank 1."""
        self._ranks_change = ranks_change
        self._updates: dict[str, LayerUpdate] = {}
        for fit in fits.values():
            self._updates.update({update.target.name: update for update in fit.updates})
        self._tensors: OrderedDict[_Ranks, Any] = OrderedDict()
        self._remainder = 0
        self._last_drawn = 0
        self._tries = 0

    def next_remainder(self) -> int | None:
        """Return the remainder of the next call: not that of the call before it, nor that of the last drawn image.

        It is None where the ranks do not change.
        """
        if not self._ranks_change:
            return None
        self._tries += 1
        self._remainder = (self._last_drawn + 2 - self._tries % 2) % _REMAINDERS
        return self._remainder

    def call_drew(self) -> None:
        """Record that the call of the last ``next_remainder`` drew its images."""
        self._last_drawn = self._remainder
        self._tries = 0

    def tensor(self, blend: Iterable[AdapterFit], remainder: int | None) -> openvino.Tensor:
        """Return the adapter of zeros that gives every layer, together with ``blend``, this remainder of its rank."""
        ranks = Counter[str]()
        for fit in blend:
            ranks.update({update.target.name: update.rank or 0 for update in fit.updates})
        wanted = tuple(
            1 if remainder is None else (remainder - ranks[name] - 1) % _REMAINDERS + 1 for name in self._updates
        )
        if wanted not in self._tensors:
            self._tensors[wanted] = openvino.Tensor(zero_adapter(zip(self._updates.values(), wanted, strict=True)))
        self._tensors.move_to_end(wanted)
        if len(self._tensors) > _KEPT:
            self._tensors.popitem(last=False)
        return self._tensors[wanted]

"""LoRA adapters for OpenVINO GenAI: loaded once, then selected by each request or compiled into the model.

GenAI has one mode for all adapters of a pipeline, so the modes of a graph's adapters become one mode:

- with a DYNAMIC adapter: dynamic, and every request carries the FUSE adapters at their fixed strength;
- with a STATIC adapter: static, and FUSE and STATIC adapters are compiled in together;
- with FUSE adapters only: merged into the weights, or static where the weights have 8 or 4 bits, which GenAI cannot
  merge;
- FUSE adapters that GenAI cannot apply in any mode are merged before the model is loaded (model_copy.py);
- on families that cannot compile adapters in (SD3): always dynamic, and every request carries the FUSE and STATIC ones.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openvino
import openvino_genai

from graphs.adapters.fit import fit_adapter
from graphs.adapters.updates import AdapterFit
from graphs.definition.graph import Graph, LoraAdapter, LoraMode
from graphs.errors import AdapterMisfit, EngineError
from graphs.families.family import Family
from graphs.requests.request import AdapterSelection
from workers.engine.adapters.adapter_files import convert
from workers.engine.adapters.model_copy import MergedAdapter, ModelChanges
from workers.engine.adapters.zero_adapters import ZeroAdapters
from workers.engine.pipelines import RUNTIME_ERRORS, reason

logger = logging.getLogger(__name__)

_Mode = openvino_genai.AdapterConfig.Mode
_MODES = {LoraMode.DYNAMIC: _Mode.MODE_DYNAMIC, LoraMode.STATIC: _Mode.MODE_STATIC, LoraMode.FUSE: _Mode.MODE_FUSE}
# Each blend has one for each remainder of its ranks (zero_adapters.py).
_KEPT_CONFIGS = 24
_Blend = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class _Loaded:
    """A checked adapter in memory, in the form that GenAI takes."""

    fit: AdapterFit
    tensor: openvino.Tensor
    strength: float


class AdapterSet:
    """The adapters of one set of pipelines, and the values of ``adapters=`` for them.

    GenAI 2026.4.1 does not apply a new strength of any adapter but the last of a blend: the image stays the same. It
    does apply other adapter objects, so each blend has objects of its own, which share the tensors.

    In dynamic mode an adapter of zeros is part of every blend. It changes the ranks from call to call where the CPU
    draws wrong images without that (zero_adapters.py), and no layer is ever without an adapter: where one had an
    adapter, then none, then one of the same rank again, the CPU computing in bf16 drew a black image.
    """

    def __init__(
        self, graph: Graph, family: Family, *, at_construction: bool = True, ranks_change: bool = True
    ) -> None:
        """Load the graph's adapters. Raises EngineError naming the first adapter that cannot be used.

        ``at_construction``: whether the pipelines are compiled while they are constructed; ``ranks_change``: whether
        the device draws right images only if the ranks change from call to call (devices.py, keeps_input_addresses).
        """
        self._ranks_change = ranks_change
        self._graph = graph
        self._family = family
        self._at_construction = at_construction
        self._fixed: dict[str, float] = {}
        self._loaded: dict[str, _Loaded] = {}
        self._zeros = ZeroAdapters({}, ranks_change=ranks_change)
        self._compiled: tuple[LoraMode | None, frozenset[str], frozenset[str]] = (None, frozenset(), frozenset())
        self._configs: OrderedDict[tuple[_Blend, int | None], openvino_genai.AdapterConfig] = OrderedDict()
        self._merged: list[MergedAdapter] = []
        for adapter in graph.lora_adapters:
            self._add(adapter)
        self._fixed = {alias: alpha for alias, alpha in graph.compiled_alphas.items() if alias in self._loaded}
        self._check_places()

    @property
    def changes(self) -> ModelChanges:
        """Return what has to be changed in the model before it is loaded."""
        split: dict[str, set[str]] = {}
        if self.mode is not LoraMode.FUSE:
            for update in (update for one in self._loaded.values() for update in one.fit.updates):
                layer = update.target.layer
                if not layer.takes_branch or (layer.reads_input and self._ranks_change):
                    folder = self._family.adapter_components[update.target.component].folder
                    split.setdefault(folder, set()).add(layer.path)
        return ModelChanges(self._merged, {folder: frozenset(paths) for folder, paths in split.items()})

    @property
    def mode(self) -> LoraMode | None:
        """Return the mode that the pipelines are compiled with; None without adapters."""
        if any(alias not in self._fixed for alias in self._loaded):
            return LoraMode.DYNAMIC
        if not self._loaded:
            return None
        if not self._family.compiles_adapters:
            return LoraMode.DYNAMIC
        has_static = any(adapter.mode is LoraMode.STATIC for adapter in self._graph.lora_adapters)
        can_merge = all(loaded.fit.takes_merge for loaded in self._loaded.values())
        return LoraMode.FUSE if can_merge and not has_static else LoraMode.STATIC

    def compile_config(self) -> openvino_genai.AdapterConfig | None:
        """Return the ``adapters=`` of ``compile()``, None without adapters, and record what is compiled with it."""
        mode = self.mode
        loaded = self._loaded.values()
        self._configs.clear()
        self._compiled = (
            mode,
            frozenset(layer for one in loaded for layer in one.fit.layers),
            frozenset(update.dtype for one in loaded for update in one.fit.updates),
        )
        self._zeros = ZeroAdapters(
            {alias: one.fit for alias, one in self._loaded.items()}, ranks_change=self._ranks_change
        )
        if mode is None:
            return None
        return self._config(mode, [(alias, self._fixed.get(alias, 1.0)) for alias in self._loaded], remainder=0)

    def request_config(self, selections: Sequence[AdapterSelection]) -> openvino_genai.AdapterConfig | None:
        """Return the ``adapters=`` of the next call of ``generate()``; None leaves the argument out.

        It is never None in dynamic mode, where GenAI would then apply every loaded adapter, and never the same for two
        calls in a row where the ranks have to change. Raises EngineError for an alias that is not loaded.
        """
        self._check_known(selections)
        if self._compiled[0] is not LoraMode.DYNAMIC:
            return None
        selected = [(one.alias, one.alpha) for one in selections if one.alias not in self._fixed]
        blend = (*self._fixed.items(), *selected)
        key = blend, self._zeros.next_remainder()
        if key not in self._configs:
            self._configs[key] = self._config(LoraMode.DYNAMIC, *key)
        self._configs.move_to_end(key)
        if len(self._configs) > _KEPT_CONFIGS:
            self._configs.popitem(last=False)
        return self._configs[key]

    def call_drew(self) -> None:
        """Record that the call with the last ``request_config`` drew its images."""
        self._zeros.call_drew()

    def covering(self) -> tuple[AdapterSelection, ...]:
        """Return few adapters that can be selected and together change every layer that any of these changes.

        The sum of their strengths is 1, as that of a usual blend.
        """
        left = {layer for alias, one in self._loaded.items() if alias not in self._fixed for layer in one.fit.layers}
        chosen: list[str] = []
        for alias, one in self._loaded.items():
            if alias not in self._fixed and left & one.fit.layers:
                chosen.append(alias)
                left -= one.fit.layers
        return tuple(AdapterSelection(alias=alias, alpha=1 / len(chosen)) for alias in chosen)

    def add(self, alias: str, path: Path) -> bool:
        """Load one more DYNAMIC adapter and return whether the pipelines must be compiled again to apply it.

        Raises EngineError and changes nothing where it cannot be added.
        """
        if any(adapter.mode is LoraMode.STATIC for adapter in self._graph.lora_adapters):
            raise EngineError(f"The adapters of {self._graph.name!r} are compiled in (STATIC); none can be added.")
        if alias in self._loaded:
            raise EngineError(f"There is an adapter {alias!r} already.")
        self._loaded[alias] = self._converted(alias, self._fit(alias, path))
        try:
            self._check_places()
        except EngineError:
            del self._loaded[alias]
            raise
        return not self._is_compiled(self._loaded[alias].fit)

    def remove(self, alias: str) -> None:
        """Remove a DYNAMIC adapter. Raises EngineError for one that is not loaded or is compiled in."""
        self._check_known([AdapterSelection(alias=alias, alpha=1.0)])
        if alias in self._fixed:
            raise EngineError(f"The adapter {alias!r} is compiled into {self._graph.name!r}; it cannot be removed.")
        del self._loaded[alias]
        self._configs.clear()

    def _config(
        self, mode: LoraMode, blend: Sequence[tuple[str, float]], remainder: int | None
    ) -> openvino_genai.AdapterConfig:
        config = openvino_genai.AdapterConfig(_MODES[mode])
        for alias, alpha in blend:
            loaded = self._loaded[alias]
            config.add(openvino_genai.Adapter(loaded.tensor), alpha * loaded.strength)
        if mode is LoraMode.DYNAMIC:
            # At the end: in front of the others they would change the order of their sums, and so some roundings.
            zeros = self._zeros.tensor((self._loaded[alias].fit for alias, _ in blend), remainder)
            config.add(openvino_genai.Adapter(zeros), 1.0)
        return config

    def _is_compiled(self, fit: AdapterFit) -> bool:
        """Return whether the compiled models can apply an adapter: all of its layers, with its precision."""
        mode, layers, dtypes = self._compiled
        # GenAI keeps adapters of several types as f32.
        precise = len(dtypes) > 1 or "F32" in dtypes or dtypes.issuperset(u.dtype for u in fit.updates)
        return mode is LoraMode.DYNAMIC and fit.layers <= layers and precise

    def _add(self, adapter: LoraAdapter) -> None:
        """Load an adapter of the graph, in the way that its mode and its kind ask for."""
        fit = self._fit(adapter.alias, adapter.path)
        if adapter.mode is LoraMode.FUSE and fit.needs_merge:
            with _named(adapter.alias, adapter.path):
                fit.check_mergeable()
            self._merged.append(MergedAdapter(fit, adapter.alpha))
        else:
            self._loaded[adapter.alias] = self._converted(adapter.alias, fit)

    def _fit(self, alias: str, path: Path) -> AdapterFit:
        with _named(alias, path):
            fit = fit_adapter(path, self._graph.models_path, self._family)
        if fit.coverage.left_out is not None:
            logger.warning("A part of the adapter %r is left out (%s): %s", alias, fit.coverage, fit.coverage.left_out)
        return fit

    def _converted(self, alias: str, fit: AdapterFit) -> _Loaded:
        with _named(alias, fit.path):
            fit.check_low_rank()
            converted = convert(fit)
            tensor = openvino.Tensor(converted.content)
            openvino_genai.Adapter(tensor)
        return _Loaded(fit, tensor, converted.strength)

    def _check_places(self) -> None:
        for alias, loaded in self._loaded.items():
            with _named(alias, loaded.fit.path):
                loaded.fit.check_loadable(at_construction=self._at_construction)

    def _check_known(self, selections: Sequence[AdapterSelection]) -> None:
        for selection in selections:
            if selection.alias not in self._loaded:
                raise EngineError(f"The adapter {selection.alias!r} is not loaded.")


@contextmanager
def _named(alias: str, path: Path) -> Iterator[None]:
    """Raise what an adapter's file is refused for as an EngineError that names the adapter and the file."""
    try:
        yield
    except AdapterMisfit as error:
        raise _unusable(alias, path, error.message, error.code) from error
    except OSError as error:
        raise _unusable(alias, path, f"it cannot be read ({error.strerror})") from error
    except RUNTIME_ERRORS as error:
        raise _unusable(alias, path, reason(error)) from error


def _unusable(alias: str, path: Path, why: str, code: str | None = None) -> EngineError:
    return EngineError(f"The adapter {alias!r} ({path}) cannot be used: {why}.", code=code)

"""Checks lora_adapters and composite_lora_adapters, and makes the Graph's entries of them."""

import logging
import math
from pathlib import Path

from graphs.definition.graph import CompositeComponent, CompositeLoraAdapter, LoraAdapter, LoraMode, check_alias
from graphs.definition.image_gen_calculator_pb2 import ImageGenCalculatorOptions
from graphs.definition.source_lines import Source, Step
from graphs.operator_files import is_file

log = logging.getLogger(__name__)

_Composite = ImageGenCalculatorOptions.CompositeLoraAdapterEntry
_Component = ImageGenCalculatorOptions.CompositeLoraComponent
_At = tuple[Step, ...]
_Entry = ImageGenCalculatorOptions.LoraAdapterEntry


def read_adapters(
    message: ImageGenCalculatorOptions, source: Source, *, folder: Path, graph_name: str, npu: bool
) -> tuple[LoraAdapter, ...]:
    """Return the checked adapters in their order; relative paths start from ``folder``.

    Raises GraphError for the first entry that cannot be used.
    """
    found: list[LoraAdapter] = []
    taken = {graph_name}
    switched: LoraAdapter | None = None  # the first that is not merged; all later ones must have its mode
    for index, entry in enumerate(message.lora_adapters):
        at: _At = (("lora_adapters", index),)
        _check_alias(entry.alias, source, at, taken)
        adapter = LoraAdapter(
            alias=entry.alias,
            path=_file(entry.path, source, at, folder),
            alpha=_alpha(entry, source, at),
            alpha_given=entry.HasField("alpha"),
            mode=_mode(entry, source, at, npu=npu),
        )
        if adapter.mode is not LoraMode.FUSE:
            switched = switched or adapter
            _check_same_mode(adapter, switched, source, at)
        found.append(adapter)
        taken.add(adapter.alias)
    static = [a.alias for a in found if a.mode is LoraMode.STATIC]
    if len(static) > 1 and not message.composite_lora_adapters:
        reason = (
            f"{len(static)} STATIC adapters ({', '.join(static)}) are always active together and need a "
            "composite_lora_adapters entry that gives the blend a name."
        )
        raise source.option_error(reason, ("lora_adapters", _index(found, static[1])))
    return tuple(found)


def read_composites(
    message: ImageGenCalculatorOptions, source: Source, adapters: tuple[LoraAdapter, ...], *, graph_name: str
) -> tuple[CompositeLoraAdapter, ...]:
    """Return the checked composites in their order; a component without alpha has its adapter's.

    Raises GraphError for the first entry that cannot be used.
    """
    by_alias = {adapter.alias: adapter for adapter in adapters}
    compiled: dict[str, float] = {}
    found: list[CompositeLoraAdapter] = []
    taken = {graph_name, *by_alias}
    for index, entry in enumerate(message.composite_lora_adapters):
        at: _At = (("composite_lora_adapters", index),)
        _check_alias(entry.alias, source, at, taken)
        components = _components(entry, source, at, by_alias)
        _check_compiled(components, source, at, by_alias, compiled)
        found.append(CompositeLoraAdapter(alias=entry.alias, components=components))
        taken.add(entry.alias)
    return tuple(found)


def _components(
    entry: _Composite, source: Source, at: _At, by_alias: dict[str, LoraAdapter]
) -> tuple[CompositeComponent, ...]:
    source.check_option(
        bool(entry.components), "A composite needs at least one entry in components.", *at, "components"
    )
    found: list[CompositeComponent] = []
    for index, component in enumerate(entry.components):
        here = (*at, ("components", index))
        adapter = _referenced(component, source, here, by_alias)
        is_new = all(adapter.alias != earlier.adapter_alias for earlier in found)
        source.check_option(is_new, f"{adapter.alias!r} is already in this composite.", *here, "adapter_alias")
        given = component.HasField("alpha")
        alpha = _alpha(component, source, here)
        reason = (
            f"The alpha of {adapter.alias!r} is written twice: {adapter.alpha:g} with the adapter and "
            f"{alpha:g} here; keep one of them."
        )
        source.check_option(not given or 1.0 in (alpha, adapter.alpha), reason, *here, "alpha")
        written = CompositeComponent(adapter_alias=adapter.alias, alpha=alpha, alpha_given=given)
        found.append(written.model_copy(update={"alpha": written.effective_alpha(adapter)}))
    return tuple(found)


def _referenced(component: _Component, source: Source, here: _At, by_alias: dict[str, LoraAdapter]) -> LoraAdapter:
    alias = component.adapter_alias
    here = (*here, "adapter_alias")
    source.check_option(bool(alias), "adapter_alias is required; write the alias of an adapter.", *here)
    known = ", ".join(by_alias) or "there is none"
    source.check_option(alias in by_alias, f"{alias!r} is not the alias of a lora_adapters entry ({known}).", *here)
    reason = f"{alias!r} is merged into the model (FUSE) and always active; it cannot be part of a composite."
    source.check_option(by_alias[alias].mode is not LoraMode.FUSE, reason, *here)
    return by_alias[alias]


def _check_compiled(
    components: tuple[CompositeComponent, ...],
    source: Source,
    at: _At,
    by_alias: dict[str, LoraAdapter],
    compiled: dict[str, float],
) -> None:
    """Refuse two composites that would need the same STATIC adapter compiled with two strengths."""
    for index, component in enumerate(components):
        if by_alias[component.adapter_alias].mode is not LoraMode.STATIC:
            continue
        other = compiled.setdefault(component.adapter_alias, component.alpha)
        reason = (
            f"{component.adapter_alias!r} is STATIC, compiled with one alpha for all composites, but has "
            f"{component.alpha:g} here and {other:g} in another; write the same in both."
        )
        source.check_option(other == component.alpha, reason, *at, ("components", index), "alpha")


def _check_alias(alias: str, source: Source, at: _At, taken: set[str]) -> None:
    at = (*at, "alias")
    source.check_option(bool(alias), "alias is required; it is the name that clients send as model.", *at)
    try:
        check_alias(alias)
    except ValueError as error:
        raise source.option_error(str(error), *at) from None
    reason = f"{alias!r} is already the name of this graph or of another adapter; choose another."
    source.check_option(alias not in taken, reason, *at)


def _file(text: str, source: Source, at: _At, folder: Path) -> Path:
    at = (*at, "path")
    source.check_option(bool(text), "path is required; write the adapter's .safetensors file.", *at)
    is_safetensors = text.lower().endswith(".safetensors")
    source.check_option(is_safetensors, f"{text!r} is not a .safetensors file.", *at)
    reason = f"{text!r} does not exist; write a file's path, absolute or relative to the graph's folder."
    source.check_option(is_file(folder / text), reason, *at)
    return folder / text


def _alpha(entry: _Entry | _Component, source: Source, at: _At) -> float:
    reason = f"alpha must be a finite number, not {entry.alpha}."
    source.check_option(math.isfinite(entry.alpha), reason, *at, "alpha")
    return entry.alpha


def _mode(entry: _Entry, source: Source, at: _At, *, npu: bool) -> LoraMode:
    """Return the mode as written, else STATIC on the NPU and DYNAMIC elsewhere.

    The NPU cannot switch adapters between requests: there, as in OVMS, a DYNAMIC adapter is compiled in.
    """
    if not entry.HasField("mode"):
        return LoraMode.STATIC if npu else LoraMode.DYNAMIC
    mode = LoraMode(ImageGenCalculatorOptions.LoraLoadMode.Name(entry.mode))
    if npu and mode is LoraMode.DYNAMIC:
        place = f"{source.path}:{source.line('node', 'node_options', '[]', *at, 'mode')}: " if source.path else ""
        log.warning("%sThe NPU cannot switch adapters between requests; %s is STATIC here.", place, entry.alias)
        return LoraMode.STATIC
    return mode


def _check_same_mode(adapter: LoraAdapter, other: LoraAdapter, source: Source, at: _At) -> None:
    reason = (
        f"{adapter.alias!r} is {adapter.mode} and {other.alias!r} is {other.mode}; compiled and "
        "switched adapters cannot be combined, so give all of them one mode."
    )
    source.check_option(adapter.mode is other.mode, reason, *at, "mode")


def _index(adapters: list[LoraAdapter], alias: str) -> int:
    return next(index for index, adapter in enumerate(adapters) if adapter.alias == alias)

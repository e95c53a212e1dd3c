"""The grammar of ``--source_loras``, which names the adapters to serve and their sources.

    alias=source[:alpha],mix=@alias:alpha+@alias:alpha,...

A source is a URL, a local path or a Hugging Face repository (``org/repo`` or ``org/repo@file``). They are
distinguished by the three rules of OpenVINO Model Server's documentation, in their order. A ``file:`` address is a
local path. Spaces around any part are ignored.

A comma ends an entry only where the next entry's ``alias=`` follows, or nothing does. So names may contain commas.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from graphs.adapters.addresses import has_control_character
from graphs.adapters.lora_source import (
    COMMA_HINT,
    FIELD,
    NEXT_ENTRY,
    SEMICOLON,
    SEMICOLON_HINT,
    LoraSource,
    SourceEntry,
    read_alpha,
    read_source,
    written_alpha,
)
from graphs.definition.devices import uses_npu
from graphs.definition.graph import LoraMode, check_alias
from graphs.errors import GraphError

_NEXT_COMPONENT = re.compile(r"\+(?=\s*@)")  # there is no @ after the plus of an exponent (1e+5)


@dataclass(frozen=True)
class CompositeSource:
    """A composite adapter: the aliases of its adapters, each with a strength of its own or None for the adapter's."""

    alias: str
    components: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True)
class SourceLoras:
    """A parsed ``--source_loras``: adapters and composites, each in their order."""

    adapters: tuple[LoraSource, ...]
    composites: tuple[CompositeSource, ...] = ()

    def __str__(self) -> str:
        """Return a text that parses to an equal object."""
        single = map(str, self.adapters)
        composites = (
            f"{c.alias}=" + "+".join(f"@{alias}{written_alpha(alpha)}" for alias, alpha in c.components)
            for c in self.composites
        )
        return ",".join([*single, *composites])


def parse_source_loras(text: str, own: Mapping[str, float | None] | None = None) -> SourceLoras:
    """Parse a ``--source_loras``; ``own`` has adapters that its composites may name as well, with their alphas.

    Raises GraphError (field ``source_loras``), which names the wrong entry.
    """
    adapters: list[LoraSource] = []
    composites: list[tuple[SourceEntry, CompositeSource]] = []
    taken: set[str] = set()
    for number, part in enumerate(NEXT_ENTRY.split(text), 1):
        entry = SourceEntry(number, part.strip())
        alias, source = _halves(entry, taken)
        taken.add(alias)
        if source.startswith("@"):
            composites.append((entry, CompositeSource(alias, tuple(_components(entry, source)))))
        else:
            adapters.append(read_source(entry, alias, source))
    alphas = {**(own or {}), **{adapter.alias: adapter.alpha for adapter in adapters}}
    for entry, composite in composites:
        _check_references(entry, composite, alphas, taken)
    return SourceLoras(tuple(adapters), tuple(composite for _, composite in composites))


def mode_for(devices: Sequence[str]) -> LoraMode:
    """Return how adapters are loaded on a graph's devices: STATIC if the NPU is one of them, else DYNAMIC."""
    return LoraMode.STATIC if uses_npu(devices) else LoraMode.DYNAMIC


def _halves(entry: SourceEntry, taken: set[str]) -> tuple[str, str]:
    if not entry.text:
        raise GraphError(f"entry {entry.number} is empty; write alias=source.", field=FIELD)
    if has_control_character(entry.text):
        entry.refuse("it contains a control character.")
    alias, equals, source = (part.strip() for part in entry.text.partition("="))
    if not equals:
        entry.refuse(f"this is not of the form alias=source; {COMMA_HINT}.")
    try:
        check_alias(alias)
    except ValueError as error:
        entry.refuse(str(error))
    if alias in taken:
        entry.refuse(f"the alias {alias!r} is already used by an earlier entry; choose another.")
    if not source:
        entry.refuse("the source after '=' is missing; write a URL, a path or a Hugging Face org/repo.")
    if SEMICOLON.search(source) or (source.startswith("@") and ";" in source):
        entry.refuse(f"{SEMICOLON_HINT}.")
    return alias, source


def _components(entry: SourceEntry, source: str) -> Iterator[tuple[str, float | None]]:
    seen: set[str] = set()
    for part in _NEXT_COMPONENT.split(source):
        alias, colon, number = (piece.strip() for piece in part.strip().removeprefix("@").partition(":"))
        try:
            check_alias(alias)
        except ValueError:
            entry.refuse(f"{part.strip()!r} is not a component; a composite is written @alias:alpha+@alias:alpha.")
        if alias in seen:
            entry.refuse(f"{alias!r} is twice in this composite.")
        seen.add(alias)
        yield alias, read_alpha(entry, number) if colon else None


def _check_references(
    entry: SourceEntry, composite: CompositeSource, alphas: Mapping[str, float | None], taken: set[str]
) -> None:
    for alias, alpha in composite.components:
        if alias not in alphas and alias in taken:
            entry.refuse(f"{alias!r} is a composite; a composite is made of adapters only.")
        if alias not in alphas:
            entry.refuse(f"there is no adapter {alias!r} ({', '.join(alphas) or 'none is defined'}).")
        own = alphas[alias]
        if None not in (own, alpha) and own != 1.0 and alpha != 1.0:
            entry.refuse(f"the alpha of {alias!r} is written twice: {own} with the adapter, {alpha} here; keep one.")

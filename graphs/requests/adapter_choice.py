"""The adapters of a request: those of ``model``, of ``adapters``, and of ``<lora:...>`` in its prompts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from graphs.definition.graph import MAX_STRENGTH, Graph, LoraMode
from graphs.errors import InvalidRequest
from graphs.repository.repository import Route
from graphs.requests.request import AdapterSelection, GenerationParameters

# The form of the web UIs of Stable Diffusion: <lora:ALIAS> or <lora:ALIAS:STRENGTH>.
_TAG = re.compile(r"<lora:(?P<alias>[^<>:]{1,200})(?::(?P<strength>[^<>]{0,40}))?>")
_STRENGTH = re.compile(r"[+-]?(\d{1,10}(\.\d{0,20})?|\.\d{1,20})", re.ASCII)
_PROMPTS = ("prompt", "prompt_2", "prompt_3")
_MOST_WARNINGS = 5


@dataclass(frozen=True)
class AdapterChoice:
    """The active adapters of a request, its parameters without the tags that selected some, and warnings."""

    adapters: tuple[AdapterSelection, ...]
    parameters: GenerationParameters
    warnings: tuple[str, ...]


def choose_adapters(parameters: GenerationParameters, route: Route) -> AdapterChoice:
    """Return the adapters of a request whose model has this route.

    Those of ``adapters`` and of tags are active beside those of the route, or with another strength. A tag whose name
    is no adapter stays in the prompt, with a warning. Raises InvalidRequest naming the parameter.
    """
    own = dict(route.adapters)
    named = _expanded(parameters.adapters or {}, route.graph)
    tags = _Tags(route.graph)
    prompts = {name: tags.cut(name, text) for name in _PROMPTS if (text := getattr(parameters, name))}
    _check_given_once(named, tags.strengths, parameters.lora_alphas or {})
    chosen = named | tags.strengths
    for alias, alpha in chosen.items():
        _check_strength(alias, alpha, "prompt" if alias in tags.strengths else f"adapters.{alias}")
    # In the order of the graph: the order of a blend changes some roundings, and must not depend on the client's.
    added = {one.alias: chosen[one.alias] for one in route.graph.lora_adapters if one.alias in chosen}
    active = _with_alphas(own | added, parameters.lora_alphas or {}, route)
    return AdapterChoice(
        tuple(AdapterSelection(alias=alias, alpha=alpha) for alias, alpha in active.items()),
        parameters.model_copy(update=prompts),
        (*tags.warnings[:_MOST_WARNINGS], *_ignored_tags(parameters)),
    )


class _Names:
    """What the names of a graph's adapters and composites stand for."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._adapters = {one.alias for one in graph.lora_adapters if one.mode is LoraMode.DYNAMIC}
        self._composites = {one.alias: one.components for one in graph.composite_lora_adapters}

    def strengths(self, name: str, strength: float) -> dict[str, float] | None:
        """Return the adapters that a name with this strength means; None if it cannot be selected."""
        if name in self._adapters:
            return {name: strength}
        parts = self._composites.get(name, ())
        if not parts or any(part.adapter_alias not in self._adapters for part in parts):
            return None
        return {part.adapter_alias: strength * self._graph.component_alpha(part) for part in parts}


class _Tags:
    """The strengths of the adapters that tags name, and why other tags stay in the text."""

    def __init__(self, graph: Graph) -> None:
        self.strengths: dict[str, float] = {}
        self.warnings: list[str] = []
        self._graph = graph
        self._names = _Names(graph)

    def cut(self, param: str, text: str) -> str:
        """Return a prompt without the tags that select adapters, and without the spaces that surround them twice."""
        parts: list[str] = []
        end = 0
        for tag in _TAG.finditer(text):
            if self._selects(param, tag):
                parts.append(text[end : tag.start()])
                end = tag.end()
        if not parts:
            return text
        return _joined([*parts, text[end:]])

    def _selects(self, param: str, tag: re.Match[str]) -> bool:
        written = tag["strength"]
        if written is not None and not _STRENGTH.fullmatch(written):
            return self._stays(param, tag, "has no strength that is one number")
        found = self._names.strengths(tag["alias"], 1.0 if written is None else float(written))
        if found is None:
            return self._stays(param, tag, f"names no adapter of {self._graph.name!r} that can be selected")
        self.strengths = _sum(self.strengths, found)
        return True

    def _stays(self, param: str, tag: re.Match[str], why: str) -> bool:
        self.warnings.append(f"{tag[0][:100]} in {param} {why}; it was left in the text.")
        return False


def _joined(parts: list[str]) -> str:
    """Put the text around tags together, with one space where a tag stood between spaces."""
    joined = [parts[0]]
    for before, after in pairwise(parts):
        if before[-1:].isspace() and after[:1].isspace():
            after = after.lstrip()
        joined.append(after)
    return "".join(joined).strip()


def _ignored_tags(parameters: GenerationParameters) -> list[str]:
    negative = [getattr(parameters, f"negative_{name}") for name in _PROMPTS]
    if not any(text and _TAG.search(text) for text in negative):
        return []
    return ["<lora:...> in a negative prompt selects no adapter; it was left in the text."]


def _expanded(asked: Mapping[str, float], graph: Graph) -> dict[str, float]:
    names = _Names(graph)
    strengths: dict[str, float] = {}
    for alias, alpha in asked.items():
        found = names.strengths(alias, alpha)
        if found is None:
            raise InvalidRequest(_why_not(alias, graph), param=f"adapters.{alias}"[:200])
        strengths = _sum(strengths, found)
    return strengths


def _sum(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {alias: one.get(alias, 0.0) + other.get(alias, 0.0) for alias in (*one, *other)}


def _why_not(alias: str, graph: Graph) -> str:
    adapter = next((one for one in graph.lora_adapters if one.alias == alias), None)
    if adapter is not None:
        return f"The adapter {alias!r} is compiled into {graph.name!r} ({adapter.mode}); it cannot be selected."
    names = [one.alias for one in graph.lora_adapters if one.mode is LoraMode.DYNAMIC]
    have = f"it has {', '.join(names[:10])}" if names else "it has none that can be selected"
    return f"{graph.name!r} has no adapter {alias[:100]!r}; {have}."


def _check_given_once(named: Mapping[str, float], tagged: Mapping[str, float], alphas: Mapping[str, float]) -> None:
    for alias in (alias for alias in named if alias in tagged):
        reason = f"The strength of {alias!r} is given in adapters and in the prompt; give it once."
        raise InvalidRequest(reason, param=f"adapters.{alias}")
    for alias in (alias for alias in alphas if alias in named or alias in tagged):
        place = "adapters" if alias in named else "the prompt"
        reason = f"The strength of {alias!r} is given in lora_alphas and in {place}; give it once."
        raise InvalidRequest(reason, param=f"lora_alphas.{alias}")


def _with_alphas(active: dict[str, float], alphas: dict[str, float], route: Route) -> dict[str, float]:
    if alphas and not active:
        raise InvalidRequest(
            f"lora_alphas has nothing to act on: {route.model!r} is a base model; name an adapter in model.",
            param="lora_alphas",
        )
    modes = {adapter.alias: adapter.mode for adapter in route.graph.lora_adapters}
    for alias in alphas:
        if alias not in active:
            raise InvalidRequest(
                f"lora_alphas names {alias!r}, which is not part of {route.model!r} ({', '.join(active)}).",
                param=f"lora_alphas.{alias}",
            )
        if modes.get(alias) is not LoraMode.DYNAMIC:
            raise InvalidRequest(
                f"The strength of {alias!r} is compiled in ({modes.get(alias)}) and cannot be changed.",
                param=f"lora_alphas.{alias}",
            )
        _check_strength(alias, alphas[alias], f"lora_alphas.{alias}")
    return active | alphas


def _check_strength(alias: str, alpha: float, param: str) -> None:
    if abs(alpha) > MAX_STRENGTH:
        reason = f"The strength of {alias!r} must lie between -{MAX_STRENGTH:g} and {MAX_STRENGTH:g}."
        raise InvalidRequest(reason, param=param)

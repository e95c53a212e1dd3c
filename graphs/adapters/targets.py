"""Finds the layer of a model that an adapter's tensor belongs to, and the name that GenAI knows the layer by."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graphs.adapters.keys import AdapterKey, diffusers_names
from graphs.adapters.layers import Layer, read_layers
from graphs.errors import AdapterMisfit
from graphs.families.family import Family

_WRAPPERS = ("model.", "text_model.")  # exports put these in front of a module's path; adapters leave them out


@dataclass(frozen=True)
class Target:
    """A layer, its component (as in ``AdapterKey``), and the name under which GenAI finds this layer only."""

    name: str
    component: str
    layer: Layer


@dataclass(frozen=True)
class _Component:
    name: str
    folder: str
    prefix: str
    by_name: Mapping[str, Layer]
    ends: frozenset[str]  # of the layers' paths, each after one of the dots


class AdapterTargets:
    """Finds the layers of one model by what adapters call them."""

    def __init__(self, models_path: Path, family: Family) -> None:
        """Read the model's layers. Raises AdapterMisfit when its files cannot be read."""
        self._family = family
        self._components: dict[str, _Component] = {}
        for name, part in family.adapter_components.items():
            try:
                layers = read_layers(models_path / part.folder / "openvino_model.xml")
            except (OSError, SyntaxError) as error:
                raise AdapterMisfit(f"the model's {part.folder}/openvino_model.xml cannot be read ({error})") from error
            ends = frozenset(path[dot.end() :] for path in layers for dot in re.finditer(r"\.", path))
            self._components[name] = _Component(name, part.folder, part.prefix, _by_name(layers), ends)

    def find(self, key: AdapterKey) -> tuple[Target, ...]:
        """Return the layers that a tensor belongs to, in the order of their rows in it; none where there is no such."""
        component = self._components.get(key.component)
        if component is None:
            return ()
        originals = self._family.original_names(key.module, component.by_name)
        for names in (*diffusers_names(key.module), *originals):
            layers = [component.by_name.get(name) for name in names]
            if all(layers):
                return tuple(_target(layer, component) for layer in layers if layer is not None)
        return ()

    def missing(self, key: AdapterKey) -> str:
        """Return why ``find`` found nothing, as the end of a sentence about the tensor."""
        component = self._components.get(key.component)
        if component is None:
            return f"the runtime applies no adapter to the {key.component} of {self._family} models"
        near = difflib.get_close_matches(key.module, component.by_name, 1, cutoff=0)
        example = f"; the nearest is {component.by_name[near[0]].path!r}" if near else ""
        return (
            f"this {self._family} model has no layer {key.module!r} in its {component.folder} that an adapter can "
            f"change{example}"
        )


def _target(layer: Layer, component: _Component) -> Target:
    """Return the layer with a name that no other layer's name contains, as GenAI searches for it inside of them."""
    if layer.path in component.ends:
        # The path alone is the end of a longer one; what stands before it in the IR is the beginning of the name.
        return Target(f"{component.prefix.removesuffix('.')}module.{layer.path}/", component.name, layer)
    return Target(f"{component.prefix}{layer.path}/", component.name, layer)


def _by_name(layers: Mapping[str, Layer]) -> dict[str, Layer]:
    """Return the layers by their path with underscores for dots, with and without the prefixes of the export."""
    found: dict[str, Layer] = {}
    for path, layer in layers.items():
        bare = path
        found.setdefault(bare.replace(".", "_"), layer)
        for wrapper in _WRAPPERS:
            bare = bare.removeprefix(wrapper)
            found.setdefault(bare.replace(".", "_"), layer)
    return found

"""Finds the layer of a model that an adapter's tensor belongs to, and the name that GenAI knows the layer by."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graphs.adapters.keys import AdapterKey, diffusers_names
from graphs.adapters.layers import Layer, read_layers
from graphs.errors import AdapterMisfit
from graphs.families.family import Family

_WRAPPERS = ("model.", "text_model.")  # exports put these in front of a module's path; adapters leave them out
_USUAL_LAYERS_PER_BLOCK = 2


@dataclass(frozen=True)
class Target:
    """A layer, its component (as in ``AdapterKey``), and the name under which GenAI finds this layer only.

    ``mistaken_for``: the path of a layer that GenAI would find under this name instead, None if there is none.
    """

    name: str
    component: str
    layer: Layer
    mistaken_for: str | None = None


@dataclass(frozen=True)
class _Component:
    name: str
    folder: str
    prefix: str
    layers: Mapping[str, Layer]
    by_name: Mapping[str, Layer]


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
            self._components[name] = _Component(name, part.folder, part.prefix, layers, _by_name(layers))
        self._layers_per_block = _layers_per_block(models_path / "unet" / "config.json")

    def find(self, key: AdapterKey) -> tuple[Target, ...]:
        """Return the layers that a tensor belongs to, in the order of their rows in it; none where there is no such."""
        component = self._components.get(key.component)
        if component is None:
            return ()
        originals = self._family.original_names(key.module, self._layers_per_block)
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
    # GenAI searches for the name inside the names of all layers: a short path may be the end of a longer one.
    other = next((path for path in component.layers if path.endswith(f".{layer.path}")), None)
    return Target(f"{component.prefix}{layer.path}/", component.name, layer, other)


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


def _layers_per_block(config: Path) -> int:
    """Return how many layers a UNet has in each block; original names number them consecutively."""
    try:
        value = json.loads(config.read_text(encoding="utf-8")).get("layers_per_block")
    except (OSError, ValueError, AttributeError, RecursionError):
        return _USUAL_LAYERS_PER_BLOCK
    return value if isinstance(value, int) and value > 0 else _USUAL_LAYERS_PER_BLOCK

"""The layers of a model that an adapter's tensors can be meant for, and the names GenAI knows them by."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graphs.adapters.keys import AdapterKey, module_names
from graphs.adapters.layers import Layer, read_layers
from graphs.errors import EngineError
from graphs.families.model_facts import Family

_UNET = {"denoiser": ("unet", "")}
_TRANSFORMER = {"denoiser": ("transformer", "transformer.")}
_CLIP = {"text_encoder": ("text_encoder", "lora_te.")}
# For each family, the folder of a component and how GenAI wants its tensors to start. Measured: SD3's text
# encoders take no adapter, and of FLUX's only the first does.
_COMPONENTS: dict[Family, dict[str, tuple[str, str]]] = {
    Family.SD: {**_UNET, **_CLIP},
    Family.LCM: {**_UNET, **_CLIP},
    Family.SDXL: {
        **_UNET,
        "text_encoder": ("text_encoder", "lora_te1."),
        "text_encoder_2": ("text_encoder_2", "lora_te2."),
    },
    Family.SD3: _TRANSFORMER,
    Family.FLUX: {**_TRANSFORMER, **_CLIP},
    Family.FLUX_FILL: {**_TRANSFORMER, **_CLIP},
}
_WRAPPERS = ("model.", "text_model.")  # what exports put before a module's path, and adapters leave out
_USUAL_LAYERS_PER_BLOCK = 2


class AdapterMisfit(EngineError):
    """The adapter does not fit the model."""

    code = "adapter_does_not_fit"


@dataclass(frozen=True)
class Target:
    """A layer, and the name under which GenAI finds it and no other."""

    name: str
    layer: Layer


@dataclass(frozen=True)
class _Component:
    folder: str
    start: str
    layers: Mapping[str, Layer]
    by_name: Mapping[str, Layer]


class AdapterTargets:
    """Finds the layers of one model by what adapters call them."""

    def __init__(self, models_path: Path, family: Family) -> None:
        """Read the model's layers. Raises AdapterMisfit when its files cannot be read."""
        self._family = family
        self._components: dict[str, _Component] = {}
        for component, (folder, start) in _COMPONENTS[family].items():
            try:
                layers = read_layers(models_path / folder / "openvino_model.xml")
            except (OSError, SyntaxError) as error:
                raise AdapterMisfit(f"the model's {folder}/openvino_model.xml cannot be read ({error})") from error
            self._components[component] = _Component(folder, start, layers, _by_name(layers))
        self._layers_per_block = _layers_per_block(models_path / "unet" / "config.json")

    def find(self, key: AdapterKey) -> tuple[Target, ...]:
        """Return the layers that a tensor is for, in the order of their rows in it.

        Raises AdapterMisfit with the rest of a sentence about the tensor when the model has no such layer.
        """
        component = self._components.get(key.component)
        if component is None:
            raise AdapterMisfit(f"the runtime applies no adapter to the {key.component} of {self._family} models")
        for names in module_names(key.module, self._layers_per_block):
            layers = [component.by_name.get(name) for name in names]
            if all(layers):
                return tuple(_target(layer, component) for layer in layers if layer is not None)
        near = difflib.get_close_matches(key.module, component.by_name, 1, cutoff=0)
        example = f"; the nearest is {component.by_name[near[0]].path!r}" if near else ""
        raise AdapterMisfit(
            f"this {self._family} model has no layer {key.module!r} in its {component.folder} that an adapter can "
            f"change{example}"
        )


def _target(layer: Layer, component: _Component) -> Target:
    # GenAI looks for the name inside the layers' names: a short path may be the end of another one.
    for other in component.layers:
        if other.endswith(f".{layer.path}"):
            raise AdapterMisfit(f"the runtime cannot tell the layer {layer.path!r} from {other!r}")
    return Target(f"{component.start}{layer.path}/", layer)


def _by_name(layers: Mapping[str, Layer]) -> dict[str, Layer]:
    """The layers by their path with underscores for dots, also without what an export wraps around it."""
    found: dict[str, Layer] = {}
    for path, layer in layers.items():
        for wrapper in ("", *_WRAPPERS):
            if path.startswith(wrapper):
                found.setdefault(path.removeprefix(wrapper).replace(".", "_"), layer)
    return found


def _layers_per_block(config: Path) -> int:
    """How many layers a UNet has in each block, which the original names count through."""
    try:
        value = json.loads(config.read_text(encoding="utf-8")).get("layers_per_block")
    except (OSError, ValueError, AttributeError, RecursionError):
        return _USUAL_LAYERS_PER_BLOCK
    return value if isinstance(value, int) and value > 0 else _USUAL_LAYERS_PER_BLOCK

"""Makes models, graphs and requests for the tests of the rules that depend on them."""

from pathlib import Path
from typing import Any

from graphs.definition.graph import Graph, LoraAdapter, LoraMode
from graphs.families.family import Family, Operation
from graphs.families.flux import FLUX
from graphs.families.flux_fill import FLUX_FILL
from graphs.families.lcm import LCM
from graphs.families.model_facts import ModelFacts
from graphs.families.sd import SD
from graphs.families.sd3 import SD3
from graphs.own_options.schema import ModelOptions
from graphs.repository.repository import Repository, Route
from graphs.requests.request import GenerationParameters, ResolvedRequest
from graphs.requests.resolve import resolve
from graphs.resolution import Resolution

_SCHEDULERS = {
    LCM: "LCMScheduler",
    SD3: "FlowMatchEulerDiscreteScheduler",
    FLUX: "FlowMatchEulerDiscreteScheduler",
    FLUX_FILL: "FlowMatchEulerDiscreteScheduler",
}


def facts_of(family: Family, **more: Any) -> ModelFacts:
    """Return the facts of a model of this family, trained for 512x512."""
    values = {
        "native_resolution": Resolution(512, 512),
        "scheduler": _SCHEDULERS.get(family, "DDIMScheduler"),
        "timestep_spacing": "leading",
        "num_train_timesteps": 1000,
        "size_multiple": family.size_multiple,
    }
    return ModelFacts(family=family, **{**values, **more})


def lora_adapter(alias: str, mode: LoraMode = LoraMode.DYNAMIC, alpha: float | None = None) -> LoraAdapter:
    """Return an adapter; without ``alpha``, none was written."""
    written = {} if alpha is None else {"alpha": alpha}
    return LoraAdapter(alias=alias, path=Path(f"/{alias}.safetensors"), mode=mode, **written)


def graph_of(**options: Any) -> Graph:
    """Return a graph with these options."""
    return Graph(name="base", models_path=Path("/models"), **options)


def route_of(model: str | None = None, **options: Any) -> Route:
    """Return the route of a model name in a repository with one graph of these options."""
    return Repository({"base": graph_of(**options)}).route(model)


def resolved(
    operation: Operation = Operation.GENERATION,
    *,
    facts: ModelFacts | None = None,
    route: Route | None = None,
    image_size: Resolution | None = None,
    options: ModelOptions | None = None,
    **parameters: Any,
) -> ResolvedRequest:
    """Return the resolved request of these parameters; without ``facts``, the model is an SD model."""
    sent = GenerationParameters.model_validate({"prompt": "a red circle", **parameters})
    return resolve(sent, operation, route or route_of(), facts or facts_of(SD), image_size, options or ModelOptions())

import pytest

from graphs.definition.graph import CompositeComponent, CompositeLoraAdapter, LoraMode
from graphs.errors import InvalidRequest
from graphs.repository.repository import Route
from tests.graphs.facts_support import lora_adapter, resolved, route_of


def _dynamic(model: str) -> Route:
    mix = CompositeLoraAdapter(
        alias="mix",
        components=(CompositeComponent(adapter_alias="a", alpha=0.7), CompositeComponent(adapter_alias="b")),
    )
    adapters = (lora_adapter("a"), lora_adapter("b", alpha=0.4), lora_adapter("fused", LoraMode.FUSE))
    return route_of(model, lora_adapters=adapters, composite_lora_adapters=(mix,))


def _active(route: Route, **alphas: float) -> dict[str, float]:
    request = resolved(route=route, lora_alphas=alphas or None)
    return {adapter.alias: adapter.alpha for adapter in request.adapters}


@pytest.mark.parametrize(
    ("model", "active"),
    [("base", {}), ("a", {"a": 1.0}), ("b", {"b": 0.4}), ("mix", {"a": 0.7, "b": 0.4})],
)
def test_adapters_have_the_graphs_strengths(model: str, active: dict[str, float]) -> None:
    assert _active(_dynamic(model)) == active


def test_given_strengths_replace_the_graphs() -> None:
    assert _active(_dynamic("mix"), b=0.1) == {"a": 0.7, "b": 0.1}
    assert _active(_dynamic("mix"), a=0.0, b=-1.5) == {"a": 0.0, "b": -1.5}
    assert _active(_dynamic("a"), a=2.0) == {"a": 2.0}


def test_the_request_keeps_the_clients_name_of_the_model() -> None:
    request = resolved(route=_dynamic("mix"))
    assert (request.model, request.graph) == ("mix", "base")


def test_strengths_on_a_base_model_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="'base' is a base model; name an adapter in model") as refusal:
        _active(_dynamic("base"), a=1.0)
    assert refusal.value.param == "lora_alphas"


def test_no_strengths_on_a_base_model_are_fine() -> None:
    assert resolved(route=_dynamic("base"), lora_alphas={}).adapters == ()


@pytest.mark.parametrize("alias", ["b", "fused", "nothing", "mix"])
def test_a_strength_of_an_adapter_that_is_not_active_is_refused(alias: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{alias}', which is not part of 'a' \\(a\\)") as refusal:
        _active(_dynamic("a"), **{alias: 1.0})
    assert refusal.value.param == f"lora_alphas.{alias}"


def test_a_compiled_strength_cannot_be_changed() -> None:
    route = route_of("s", lora_adapters=(lora_adapter("s", LoraMode.STATIC, 0.5),))
    assert _active(route) == {"s": 0.5}
    with pytest.raises(InvalidRequest, match=r"'s' is compiled in \(STATIC\)") as refusal:
        _active(route, s=0.9)
    assert refusal.value.param == "lora_alphas.s"

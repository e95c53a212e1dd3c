from typing import Any

import pytest

from graphs.definition.graph import CompositeComponent, CompositeLoraAdapter, LoraMode
from graphs.errors import InvalidRequest
from graphs.repository.repository import Route
from graphs.requests.request import ResolvedRequest
from tests.graphs.facts_support import lora_adapter, resolved, route_of


def _route(model: str = "base") -> Route:
    mix = CompositeLoraAdapter(
        alias="mix",
        components=(CompositeComponent(adapter_alias="a", alpha=0.5), CompositeComponent(adapter_alias="b")),
    )
    adapters = (lora_adapter("a"), lora_adapter("b", alpha=0.4), lora_adapter("fused", LoraMode.FUSE))
    return route_of(model, lora_adapters=adapters, composite_lora_adapters=(mix,))


def _active(request: ResolvedRequest) -> dict[str, float]:
    return {adapter.alias: adapter.alpha for adapter in request.adapters}


@pytest.mark.parametrize(
    ("model", "adapters", "active"),
    [
        ("base", {"a": 0.3}, {"a": 0.3}),
        ("base", {"b": 2, "a": -1.5}, {"a": -1.5, "b": 2.0}),
        ("base", {"mix": 2}, {"a": 1.0, "b": 0.8}),
        ("base", {"mix": 1, "a": 0.25}, {"a": 0.75, "b": 0.4}),
        ("base", {}, {}),
        ("a", {"b": 0.2}, {"a": 1.0, "b": 0.2}),
        ("a", {"a": 0.2}, {"a": 0.2}),
        ("mix", {"b": 0.1}, {"a": 0.5, "b": 0.1}),
    ],
)
def test_adapters_are_active_beside_those_of_the_model(
    model: str, adapters: dict[str, float], active: dict[str, float]
) -> None:
    assert _active(resolved(route=_route(model), adapters=adapters)) == pytest.approx(active)


def test_the_order_of_a_blend_is_that_of_the_graph() -> None:
    blends = [resolved(route=_route(), adapters=blend).adapters for blend in ({"b": 1, "a": 1}, {"a": 1, "b": 1})]
    assert blends[0] == blends[1]
    assert [adapter.alias for adapter in blends[0]] == ["a", "b"]


@pytest.mark.parametrize(
    ("adapters", "sentence"),
    [
        ({"none": 1.0}, "'base' has no adapter 'none'; it has a, b."),
        ({"fused": 1.0}, "The adapter 'fused' is compiled into 'base' \\(FUSE\\); it cannot be selected."),
        ({"a": 1000.5}, "The strength of 'a' must lie between -1000 and 1000."),
    ],
)
def test_adapters_that_cannot_be_selected_are_refused(adapters: dict[str, float], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence) as refusal:
        resolved(route=_route(), adapters=adapters)
    assert refusal.value.param == f"adapters.{next(iter(adapters))}"


def test_a_model_without_adapters_says_so() -> None:
    with pytest.raises(InvalidRequest, match="'base' has no adapter 'a'; it has none that can"):
        resolved(route=route_of("base"), adapters={"a": 1.0})


@pytest.mark.parametrize(
    ("prompt", "left", "active"),
    [
        ("a cat <lora:a:0.8>", "a cat", {"a": 0.8}),
        ("<lora:a> a cat", "a cat", {"a": 1.0}),
        ("a <lora:a:-.5> cat", "a cat", {"a": -0.5}),
        ("a cat<lora:a:1.>, blue", "a cat, blue", {"a": 1.0}),
        ("<lora:b:1><lora:a:+2>", "", {"a": 2.0, "b": 1.0}),
        ("x <lora:a:0.5> y <lora:a:0.25> z", "x y z", {"a": 0.75}),
        ("x <lora:mix:0.5>", "x", {"a": 0.25, "b": 0.2}),
        ("a  cat", "a  cat", {}),
    ],
)
def test_a_tag_selects_its_adapter_and_is_cut_out(prompt: str, left: str, active: dict[str, float]) -> None:
    request = resolved(route=_route(), prompt=prompt)
    assert (request.prompt, request.warnings) == (left, ())
    assert _active(request) == pytest.approx(active)


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ("<lora:none:0.8>", "names no adapter of 'base' that can be selected"),
        ("<lora:fused:0.8>", "names no adapter of 'base' that can be selected"),
        ("<lora:a b:0.8>", "names no adapter of 'base' that can be selected"),
        ("<lora:a:strong>", "has no strength that is one number"),
        ("<lora:a:0.5:0.7>", "has no strength that is one number"),
        ("<lora:a:>", "has no strength that is one number"),
        ("<lora:a:nan>", "has no strength that is one number"),
    ],
)
def test_a_tag_that_selects_nothing_stays_with_a_warning(tag: str, why: str) -> None:
    request = resolved(route=_route(), prompt=f"a cat {tag} <lora:b>")
    assert request.prompt == f"a cat {tag}"
    assert request.warnings == (f"{tag} in prompt {why}; it was left in the text.",)
    assert _active(request) == {"b": 1.0}


def test_many_unknown_tags_do_not_make_as_many_warnings() -> None:
    request = resolved(route=_route(), prompt="<lora:x:1>" * 3000)
    assert len(request.warnings) == 5
    assert request.prompt == "<lora:x:1>" * 3000


def test_a_tag_in_a_negative_prompt_selects_nothing() -> None:
    request = resolved(route=_route(), negative_prompt="blue <lora:a:1>")
    assert request.negative_prompt == "blue <lora:a:1>"
    assert request.warnings == ("<lora:...> in a negative prompt selects no adapter; it was left in the text.",)
    assert _active(request) == {}


def test_a_tag_acts_beside_the_adapters_of_the_model() -> None:
    assert _active(resolved(route=_route("a"), prompt="x <lora:b:0.1>")) == {"a": 1.0, "b": 0.1}
    assert _active(resolved(route=_route("a"), prompt="x <lora:a:0.1>")) == {"a": 0.1}


def test_a_strength_of_a_tag_has_the_same_bound() -> None:
    with pytest.raises(InvalidRequest, match="The strength of 'a' must lie between") as refusal:
        resolved(route=_route(), prompt="<lora:a:999999>")
    assert refusal.value.param == "prompt"


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"adapters": {"a": 1.0}, "prompt": "<lora:a:1>"}, "adapters.a"),
        ({"adapters": {"a": 1.0}, "lora_alphas": {"a": 1.0}}, "lora_alphas.a"),
        ({"lora_alphas": {"a": 1.0}, "prompt": "<lora:a:1>"}, "lora_alphas.a"),
    ],
)
def test_a_strength_that_is_given_twice_is_refused(sent: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest, match="give it once") as refusal:
        resolved(route=_route("a"), **sent)
    assert refusal.value.param == param

"""Adapters through the whole service: which names lead where, and to the pixel what each of them draws (f32)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from graphs.definition.reader import read_graph
from graphs.families.family import Operation
from tests.stack.adapter_service import (
    OPERATIONS,
    adapter_entry,
    ask,
    assert_raw,
    composite_entry,
    listed,
    refused,
    served_image,
    tiny,
)
from tests.support.service import Service, serving
from tests.workers.engine.adapter_support import (
    LAYERS,
    MODES,
    Blend,
    distance,
    merge_by_hand,
    products,
    raw_image,
    write_native,
)
from tests.workers.engine.engine_support import OPERATIONS_BY_TIER

MERGED = 0.01  # as in tests/workers/engine/adapters/test_adapter_modes.py


@dataclass(frozen=True)
class Stage:
    """A service with four graphs of one tiny model, and its adapters' files."""

    service: Service
    a: Path
    b: Path


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("adapters")
    a, b = (write_native(folder / f"{name}.safetensors", "sd", seed) for seed, name in ((1, "a"), (2, "b")))
    models = folder / "models"
    tiny(models / "fox", adapter_entry("a", a) + adapter_entry("b", b) + composite_entry("mix", a=0.7, b=0.5))
    tiny(models / "one", adapter_entry("single", a, "STATIC", 0.6))
    both = adapter_entry("left", a, "STATIC") + adapter_entry("right", b, "STATIC", 0.4)
    tiny(models / "many", both + composite_entry("pair", left=0.7, right=1.0))
    tiny(models / "styled", adapter_entry("style", a, "FUSE", 0.8) + adapter_entry("top", b))
    with serving(folder / "run", "--model_repository_path", str(models)) as service:
        yield Stage(service, a, b)


@pytest.mark.parametrize("operation", OPERATIONS_BY_TIER)
def test_the_base_is_drawn_without_adapters(stage: Stage, operation: Operation) -> None:
    assert_raw(served_image(stage.service, "fox", operation), (), operation)


@pytest.mark.parametrize("operation", OPERATIONS_BY_TIER)
def test_an_alias_is_drawn_with_its_adapter_alone(stage: Stage, operation: Operation) -> None:
    assert_raw(served_image(stage.service, "a", operation), [(stage.a, 1.0)], operation)
    assert_raw(served_image(stage.service, "b", operation), [(stage.b, 1.0)], operation)


@pytest.mark.parametrize("operation", OPERATIONS_BY_TIER)
def test_a_composite_is_drawn_with_its_blend(stage: Stage, operation: Operation) -> None:
    assert_raw(served_image(stage.service, "mix", operation), [(stage.a, 0.7), (stage.b, 0.5)], operation)


@pytest.mark.parametrize("operation", OPERATIONS_BY_TIER)
def test_a_strength_of_the_request_is_the_one_that_is_drawn(stage: Stage, operation: Operation) -> None:
    """JSON in generations, a JSON text in the form of the others."""
    drawn = served_image(stage.service, "a", operation, lora_alphas={"a": 0.4})
    assert_raw(drawn, [(stage.a, 0.4)], operation)


@pytest.mark.parametrize("operation", [Operation.EDIT, Operation.INPAINTING])
def test_a_form_field_for_each_strength(stage: Stage, operation: Operation) -> None:
    fields: dict[str, Any] = {"lora_alphas[a]": "0.3", "lora_alphas[b]": "-0.8"}
    assert_raw(served_image(stage.service, "mix", operation, **fields), [(stage.a, 0.3), (stage.b, -0.8)], operation)


@pytest.mark.parametrize("operation", OPERATIONS_BY_TIER)
@pytest.mark.parametrize("alphas", [{"a": 0.2, "b": 0.9}, {"a": 0.2}, {"b": 0.2}])
def test_strengths_within_a_composite(stage: Stage, operation: Operation, alphas: dict[str, float]) -> None:
    blend = {"a": 0.7, "b": 0.5} | alphas
    drawn = served_image(stage.service, "mix", operation, lora_alphas=alphas)
    assert_raw(drawn, [(stage.a, blend["a"]), (stage.b, blend["b"])], operation)


@pytest.mark.parametrize("operation", OPERATIONS_BY_TIER)
def test_a_blend_of_the_request_is_drawn_on_the_base(stage: Stage, operation: Operation) -> None:
    """JSON in generations, a JSON text in the form of the others."""
    drawn = served_image(stage.service, "fox", operation, adapters={"b": 0.5, "a": 0.7})
    assert_raw(drawn, [(stage.a, 0.7), (stage.b, 0.5)], operation)


def test_a_form_field_for_each_adapter_of_a_blend(stage: Stage) -> None:
    fields: dict[str, Any] = {"adapters[a]": "0.3", "adapters[b]": "-0.8"}
    drawn = served_image(stage.service, "fox", Operation.EDIT, **fields)
    assert_raw(drawn, [(stage.a, 0.3), (stage.b, -0.8)], Operation.EDIT)


def test_a_tag_in_the_prompt_draws_what_its_adapter_draws(stage: Stage) -> None:
    plain = served_image(stage.service, "mix", prompt="a fox in the snow")
    tagged = served_image(stage.service, "fox", prompt="a fox <lora:a:0.7> in the snow <lora:b:0.5>")
    assert distance(plain, tagged) == 0.0
    assert distance(plain, served_image(stage.service, "fox", prompt="a fox in the snow")) > 0.05


def test_a_job_tells_its_adapters_and_its_prompt_without_tags(stage: Stage) -> None:
    body = {"model": "fox", "prompt": "a fox <lora:a:0.8>, <lora:none:1>", "adapters": {"b": 0.1}}
    job = stage.service.http.post("/v3/images/jobs", json=body).json()
    assert job["adapters"] == {"a": 0.8, "b": 0.1}
    assert job["prompt"] == "a fox , <lora:none:1>"
    assert [warning.split(";")[0] for warning in job["warnings"]] == [
        "<lora:none:1> in prompt names no adapter of 'fox' that can be selected"
    ]


@pytest.mark.parametrize(
    ("model", "adapters", "says"),
    [
        ("fox", {"unknown": 1.0}, "'fox' has no adapter 'unknown'; it has a, b."),
        ("single", {"single": 1.0}, "The adapter 'single' is compiled into 'one' (STATIC)"),
        ("styled", {"style": 1.0}, "The adapter 'style' is compiled into 'styled' (FUSE)"),
        ("fox", {"a": "strong"}, "number"),
    ],
)
def test_a_blend_that_cannot_be_is_refused_by_name(
    stage: Stage, model: str, adapters: dict[str, Any], says: str
) -> None:
    error = refused(ask(stage.service, model, adapters=adapters))
    assert error["param"] == f"adapters.{next(iter(adapters))}"
    assert says in error["message"]


def test_every_choice_draws_another_image(stage: Stage) -> None:
    """Or the equalities of this file would say nothing."""
    blends: list[Blend] = [(), [(stage.a, 1.0)], [(stage.b, 1.0)], [(stage.a, 0.4)], [(stage.a, 0.7), (stage.b, 0.5)]]
    drawn = [raw_image("sd", blend) for blend in blends]
    pairs = [(one, other) for number, one in enumerate(drawn) for other in drawn[:number]]
    assert min(distance(one, other) for one, other in pairs) > 0.05


def test_the_base_is_the_same_after_any_sequence(stage: Stage) -> None:
    for number, model in enumerate(("a", "mix", "b", "fox", "mix", "a")):
        alphas = {} if model != "mix" else {"lora_alphas": {"b": number / 10}}
        served_image(stage.service, model, OPERATIONS[number % 3], **alphas)
        assert_raw(served_image(stage.service, "fox"))
    for operation in OPERATIONS:
        assert_raw(served_image(stage.service, "fox", operation), (), operation)


@pytest.mark.parametrize("operation", OPERATIONS_BY_TIER)
def test_a_single_static_adapter_is_served_by_its_alias(stage: Stage, operation: Operation) -> None:
    assert_raw(served_image(stage.service, "single", operation), [(stage.a, 0.6)], operation, MODES.MODE_STATIC)


@pytest.mark.parametrize("operation", OPERATIONS_BY_TIER)
def test_several_static_adapters_are_served_by_their_composite(stage: Stage, operation: Operation) -> None:
    """The strength that a composite gives comes before the adapter's own."""
    blend = [(stage.a, 0.7), (stage.b, 1.0)]
    assert_raw(served_image(stage.service, "pair", operation), blend, operation, MODES.MODE_STATIC)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("one", "The model 'one' is compiled with its adapters and is served under their names only."),
        ("many", "The model 'many' is compiled with its adapters and is served under their names only."),
        ("left", "The adapter 'left' is compiled into 'many'; name a composite instead."),
        ("right", "The adapter 'right' is compiled into 'many'; name a composite instead."),
        ("style", "The adapter 'style' is part of 'styled' and always active."),
        ("unknown", "The model 'unknown' does not exist."),
    ],
)
def test_a_name_that_leads_nowhere_is_not_found(stage: Stage, model: str, says: str) -> None:
    error = refused(ask(stage.service, model), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert error["message"].startswith(f"{says} Available: ")


@pytest.mark.parametrize("operation", OPERATIONS_BY_TIER)
def test_fused_and_switched_adapters_work_together(stage: Stage, operation: Operation) -> None:
    drawn = served_image(stage.service, "top", operation)
    assert_raw(drawn, [(stage.a, 0.8), (stage.b, 1.0)], operation)
    drawn = served_image(stage.service, "top", operation, lora_alphas={"top": 0.3})
    assert_raw(drawn, [(stage.a, 0.8), (stage.b, 0.3)], operation)
    assert_raw(served_image(stage.service, "styled", operation), [(stage.a, 0.8)], operation)


def test_a_fused_base_is_the_weights_merged_by_hand(stage: Stage, tmp_path: Path) -> None:
    model = merge_by_hand("sd", tmp_path, products(LAYERS["sd"], 1, 0.8))
    base, both = served_image(stage.service, "styled"), served_image(stage.service, "top")
    assert distance(base, raw_image(model)) < MERGED < distance(base, raw_image("sd"))
    assert distance(both, raw_image(model, [(stage.b, 1.0)])) < MERGED < distance(both, base)


def test_exactly_what_can_be_asked_for_is_listed(stage: Stage) -> None:
    assert listed(stage.service) == {
        "fox": ("base", "fox", {}),
        "a": ("adapter", "fox", {"a": 1.0}),
        "b": ("adapter", "fox", {"b": 1.0}),
        "mix": ("composite", "fox", {"a": 0.7, "b": 0.5}),
        "single": ("adapter", "one", {"single": 0.6}),
        "pair": ("composite", "many", {"left": 0.7, "right": 1.0}),
        "styled": ("base", "styled", {}),
        "top": ("adapter", "styled", {"top": 1.0}),
    }
    for name in listed(stage.service):
        assert ask(stage.service, name).status_code == 200


@pytest.mark.parametrize("operation", [Operation.GENERATION, Operation.EDIT])
@pytest.mark.parametrize(
    ("model", "alphas", "param", "says"),
    [
        ("a", {"unknown": 1.0}, "lora_alphas.unknown", "not part of 'a'"),
        ("a", {"b": 1.0}, "lora_alphas.b", "not part of 'a'"),
        ("mix", {"mix": 1.0}, "lora_alphas.mix", "not part of 'mix'"),
        ("top", {"style": 1.0}, "lora_alphas.style", "not part of 'top'"),
        ("fox", {"a": 1.0}, "lora_alphas", "'fox' is a base model"),
        ("single", {"single": 1.0}, "lora_alphas.single", "compiled in (STATIC)"),
        ("pair", {"left": 1.0}, "lora_alphas.left", "compiled in (STATIC)"),
        ("a", {"a": "strong"}, "lora_alphas.a", "number"),
        ("a", {"a": True}, "lora_alphas.a", "number"),
        ("a", {"a": 1e9}, "lora_alphas.a", "between"),
    ],
)
def test_a_strength_that_cannot_be_is_refused_by_name(
    stage: Stage, operation: Operation, model: str, alphas: dict[str, Any], param: str, says: str
) -> None:
    error = refused(ask(stage.service, model, operation, lora_alphas=alphas))
    assert error["param"] == param
    assert says in error["message"]


@pytest.mark.parametrize("text", ["[1]", "0.5", '{"a": ', "x"])
def test_strengths_that_are_no_object_are_refused(stage: Stage, text: str) -> None:
    error = refused(ask(stage.service, "a", Operation.EDIT, lora_alphas=text))
    assert error["param"] == "lora_alphas"


def test_a_path_is_absolute_or_relative_to_the_graph(tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    near, away = tmp_path / "fox" / "loras" / "near.safetensors", tmp_path / "away" / "far.safetensors"
    near.parent.mkdir(parents=True)
    for path in (near, away):
        path.touch()
    entries = adapter_entry("near", Path("loras/near.safetensors")) + adapter_entry("far", away)
    graph = read_graph(tiny(tmp_path / "fox", entries) / "graph.pbtxt", "fox")
    assert [adapter.path for adapter in graph.lora_adapters] == [near, away]

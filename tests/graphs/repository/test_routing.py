from pathlib import Path

import pytest

from graphs.definition.graph import CompositeComponent, CompositeLoraAdapter, Graph, LoraAdapter, LoraMode
from graphs.errors import InvalidRequest, ModelNotFound
from graphs.repository.repository import Repository
from tests.graphs.facts_support import lora_adapter

Adapters = tuple[tuple[str, float], ...]


def _composite(alias: str, **alphas: float | None) -> CompositeLoraAdapter:
    parts = [
        CompositeComponent(adapter_alias=name) if alpha is None else CompositeComponent(adapter_alias=name, alpha=alpha)
        for name, alpha in alphas.items()
    ]
    return CompositeLoraAdapter(alias=alias, components=tuple(parts))


def _graph(name: str, *entries: LoraAdapter | CompositeLoraAdapter) -> Graph:
    return Graph(
        name=name,
        models_path=Path("/m"),
        lora_adapters=tuple(entry for entry in entries if isinstance(entry, LoraAdapter)),
        composite_lora_adapters=tuple(entry for entry in entries if isinstance(entry, CompositeLoraAdapter)),
    )


def _repository(*graphs: Graph) -> Repository:
    return Repository({graph.name: graph for graph in graphs})


def _all(repository: Repository) -> list[tuple[str, str, Adapters]]:
    return [(route.model, route.kind, route.adapters) for route in repository.routes()]


DYNAMIC = _graph(
    "base",
    _composite("mix", pokemon=0.7, anime=None),
    lora_adapter("fused", LoraMode.FUSE, 0.9),
    lora_adapter("pokemon", LoraMode.DYNAMIC),
    lora_adapter("anime", LoraMode.DYNAMIC, 0.8),
)


def test_a_graph_has_routes_for_its_base_its_adapters_and_its_composites() -> None:
    assert _all(_repository(DYNAMIC)) == [
        ("base", "base", ()),
        ("pokemon", "adapter", (("pokemon", 1.0),)),
        ("anime", "adapter", (("anime", 0.8),)),
        ("mix", "composite", (("pokemon", 0.7), ("anime", 0.8))),
    ]


def test_every_listed_name_has_a_route() -> None:
    repository = _repository(_graph("a/b"), DYNAMIC)
    assert [repository.route(route.model) for route in repository.routes()] == repository.routes()
    assert repository.route("mix").graph is DYNAMIC


@pytest.mark.parametrize("model", [None, ""])
def test_without_a_name_the_only_graph_is_meant(model: str | None) -> None:
    assert _repository(DYNAMIC).route(model).model == "base"


def test_without_a_name_several_graphs_are_listed() -> None:
    with pytest.raises(InvalidRequest, match="a, b") as refusal:
        _repository(_graph("a"), _graph("b")).route(None)
    assert refusal.value.param == "model"
    assert not isinstance(refusal.value, ModelNotFound)


@pytest.mark.parametrize(
    ("model", "says"),
    [("nothing", "does not exist"), ("fused", "always active"), ("Base", "does not exist"), (" ", "not exist")],
)
def test_an_unknown_name_is_answered_with_the_known_ones(model: str, says: str) -> None:
    with pytest.raises(ModelNotFound, match=f"{says}.*Available: base, pokemon, anime, mix") as refusal:
        _repository(DYNAMIC).route(model)
    assert refusal.value.param == "model"


def test_at_most_ten_names_are_listed_and_long_ones_cut() -> None:
    with pytest.raises(ModelNotFound, match=r"m9 and 2 more\.$") as refusal:
        _repository(*(_graph(f"m{number}") for number in range(12))).route("x" * 10_000)
    assert len(str(refusal.value)) < 300


def test_one_static_adapter_takes_the_place_of_the_base() -> None:
    repository = _repository(
        _graph("base", lora_adapter("style", LoraMode.STATIC, 0.5), lora_adapter("f", LoraMode.FUSE))
    )
    assert _all(repository) == [("style", "adapter", (("style", 0.5),))]
    assert repository.route(None).model == "style"
    with pytest.raises(ModelNotFound, match=r"under their names only.*Available: style"):
        repository.route("base")


def test_several_static_adapters_are_served_as_composites_only() -> None:
    static = [lora_adapter("a", LoraMode.STATIC), lora_adapter("b", LoraMode.STATIC, 0.4)]
    repository = _repository(_graph("base", *static, _composite("c", a=0.7, b=None), _composite("d", b=None)))
    assert _all(repository) == [
        ("c", "composite", (("a", 0.7), ("b", 0.4))),
        ("d", "composite", (("b", 0.4),)),
    ]
    for model, says in (("base", "under their names only"), ("a", "name a composite")):
        with pytest.raises(ModelNotFound, match=says):
            repository.route(model)
    with pytest.raises(InvalidRequest, match="c, d"):
        repository.route(None)


def test_a_static_adapters_strength_is_the_one_compiled_in() -> None:
    graph = _graph("base", lora_adapter("a", LoraMode.STATIC), _composite("c", a=0.7))
    assert graph.compiled_alphas == {"a": 0.7}
    assert _all(_repository(graph)) == [
        ("a", "adapter", (("a", 0.7),)),
        ("c", "composite", (("a", 0.7),)),
    ]

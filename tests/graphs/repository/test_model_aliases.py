"""Other names of models: OpenAI's while one base model is served, and the operator's."""

from dataclasses import replace
from pathlib import Path

import pytest

from graphs.definition.graph import Graph, LoraAdapter, LoraMode
from graphs.errors import ModelNotFound, RepositoryError, ServiceUnavailable
from graphs.repository.model_aliases import OPENAI_MODELS, is_answered_with_url, parse_aliases
from graphs.repository.repository import Repository
from tests.graphs.facts_support import lora_adapter


def _graph(name: str, *adapters: LoraAdapter) -> Graph:
    return Graph(name=name, models_path=Path("/m"), lora_adapters=adapters)


ONE = Repository({"demo": _graph("demo", lora_adapter("ink", LoraMode.DYNAMIC))})
STATIC = Repository({"demo": _graph("demo", lora_adapter("ink", LoraMode.STATIC))})
TWO = Repository({"a": _graph("a"), "b": _graph("b")})


@pytest.mark.parametrize("name", [*OPENAI_MODELS, "gpt-image-2.5-flare", "openai/dall-e-3", "azure/eu/gpt-image-1"])
def test_an_openai_name_means_the_only_base_model(name: str) -> None:
    assert ONE.route(name).model == "demo"
    assert ONE.is_alias(name)


def test_with_compiled_adapters_it_means_the_only_alias() -> None:
    assert STATIC.route("gpt-image-1").model == "ink"


@pytest.mark.parametrize("name", ["openai/demo", "litellm_proxy/openai/demo"])
def test_the_prefix_of_a_provider_is_left_out(name: str) -> None:
    assert ONE.route(name).model == "demo"


def test_the_exact_name_comes_first() -> None:
    repository = Repository({name: _graph(name) for name in ("openai/demo", "demo")})
    assert repository.route("openai/demo").model == "openai/demo"
    named = Repository({"gpt-image-1": _graph("gpt-image-1"), "demo": _graph("demo")})
    assert named.route("gpt-image-1").model == "gpt-image-1"
    assert not named.is_alias("gpt-image-1")
    assert not named.is_alias("openai/gpt-image-1")


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-image", "dall-e", "dalle-3", "unknown", "openai/unknown"])
def test_any_other_name_is_unknown_and_the_error_lists_what_there_is(name: str) -> None:
    with pytest.raises(ModelNotFound, match=r"Available: demo, ink\.$"):
        ONE.route(name)


def test_with_several_models_the_error_names_the_option() -> None:
    with pytest.raises(ModelNotFound, match=r"Available: a, b\. To let .* --model_alias gpt-image-1=MODEL\.$"):
        TWO.route("openai/gpt-image-1")
    failed = replace(ONE, failed={"other": "broken"})
    with pytest.raises(ModelNotFound, match="--model_alias"):
        failed.route("gpt-image-1")


def test_an_operators_alias_goes_before_one_with_a_star() -> None:
    repository = TWO.with_aliases(parse_aliases("dall-e-*=a, dall-e-3=b,pictures=b"))
    assert [repository.route(name).model for name in ("dall-e-2", "dall-e-3", "openai/pictures")] == ["a", "b", "b"]
    listed = [(name, route.model) for name, route in repository.alias_routes()]
    assert listed == [("dall-e-3", "b"), ("pictures", "b"), ("dall-e-2", "a")]


def test_openai_names_are_listed_while_they_mean_the_only_model() -> None:
    assert [name for name, _ in ONE.alias_routes()] == list(OPENAI_MODELS)
    assert TWO.alias_routes() == []


def test_an_alias_of_a_failed_model_is_unavailable() -> None:
    repository = replace(ONE, failed={"other": "broken"}).with_aliases(parse_aliases("x=other"))
    with pytest.raises(ServiceUnavailable):
        repository.route("x")
    assert "x" not in [name for name, _ in replace(repository, aliases=()).alias_routes()]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x", "'x' must be NAME=MODEL"),
        ("=demo", "'=demo' must be NAME=MODEL"),
        ("x=", "'x=' must be NAME=MODEL"),
        ("x=demo,x=ink", "'x' is given twice"),
        ("x=dem", "means 'dem', which is not served here. Did you mean 'demo'?"),
        ("x=zzz", "The models are demo, ink."),
        ("ink=demo", "'ink' is a model itself"),
    ],
)
def test_a_wrong_alias_is_refused_at_the_start(text: str, says: str) -> None:
    with pytest.raises(RepositoryError) as refusal:
        ONE.with_aliases(parse_aliases(text))
    assert says in refusal.value.message


@pytest.mark.parametrize(("name", "with_url"), [("dall-e-3", True), ("openai/dall-e-2", True), ("gpt-image-1", False)])
def test_only_dall_e_is_answered_with_urls(name: str, with_url: bool) -> None:
    assert is_answered_with_url(name) is with_url

"""Other names of models: those of OpenAI, which many clients cannot change, and those that an operator chooses."""

import difflib
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from graphs.errors import RepositoryError

# The names that clients have as their default or in their lists. Any other name of these kinds means the same.
OPENAI_MODELS = (
    *("chatgpt-image-latest", "dall-e-2", "dall-e-3"),
    *("gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2"),
)
_OPENAI_KINDS = ("gpt-image-*", "dall-e-*", "chatgpt-image-*")
_DALL_E = "dall-e-*"

Aliases = tuple[tuple[str, str], ...]


def parse_aliases(text: str | None) -> Aliases:
    """Read ``NAME=MODEL,...`` as pairs of a name, which may contain ``*``, and a model. Raises RepositoryError."""
    pairs = [entry.strip() for entry in (text or "").split(",") if entry.strip()]
    found = [(name.strip(), model.strip()) for name, _, model in (pair.partition("=") for pair in pairs)]
    for pair, (name, model) in zip(pairs, found, strict=True):
        if not name or not model:
            raise RepositoryError(f"model_alias: {pair!r} must be NAME=MODEL, such as gpt-image-1=demo.")
        if [other for other, _ in found].count(name) > 1:
            raise RepositoryError(f"model_alias: {name!r} is given twice.")
    return tuple(found)


def check_aliases(aliases: Aliases, models: Collection[str]) -> None:
    """Check that each alias means one of the ``models`` and is none itself. Raises RepositoryError."""
    for name, model in aliases:
        if model not in models:
            near = difflib.get_close_matches(model, models, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" The models are {', '.join(sorted(models)[:10])}."
            raise RepositoryError(f"model_alias: {name!r} means {model!r}, which is not served here.{hint}")
        if name in models:
            raise RepositoryError(f"model_alias: {name!r} is a model itself; choose another name.")


def target_of(name: str, aliases: Aliases) -> str | None:
    """Return the model that an operator's alias means; a name itself goes before one with ``*``."""
    exact = dict(aliases).get(name)
    return exact or next((model for pattern, model in aliases if fnmatchcase(name, pattern)), None)


def is_openai_model(name: str) -> bool:
    """Return whether the name is that of an image model of OpenAI."""
    return any(fnmatchcase(name, kind) for kind in _OPENAI_KINDS)


def is_answered_with_url(name: str) -> bool:
    """Return whether OpenAI answers requests to this model with URLs unless they ask for something else.

    https://platform.openai.com/docs/api-reference/images/create, response_format. Clients of these models read nothing
    else.
    """
    return any(fnmatchcase(spelling, _DALL_E) for spelling in spellings(name))


def spellings(model: str) -> Iterator[str]:
    """Yield a model's name as it was sent, then without the prefixes of providers, such as ``openai/``."""
    yield model
    while "/" in model:
        model = model.partition("/")[2]
        yield model


def listed_aliases(aliases: Aliases, *, with_openai: bool) -> list[str]:
    """Return the aliases to list: those without ``*``, and OpenAI's names that an alias with ``*`` stands for.

    ``with_openai``: all of OpenAI's names, since they mean the only model.
    """
    names = [name for name, _ in aliases if "*" not in name]
    openai = [name for name in OPENAI_MODELS if with_openai or target_of(name, aliases) is not None]
    return list(dict.fromkeys(names + openai))

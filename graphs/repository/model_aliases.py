"""Other names of models: those of OpenAI, which many clients cannot change, and those that an operator chooses."""

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from graphs.errors import RepositoryError

# The names that clients have as their default or in their lists. Any other name of these kinds means the same.
OPENAI_MODELS = (
    *("chatgpt-image-latest", "dall-e-2", "dall-e-3"),
    *("gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2"),
)
_OPENAI_KINDS = ("gpt-image-*", "dall-e-*", "chatgpt-image-*")
_DALL_E = "dall-e-*"

TYPED = "--model_alias"


@dataclass(frozen=True)
class Alias:
    """Another name of a model. ``name`` may contain ``*``; ``place`` is where it was written."""

    name: str
    model: str
    place: str = TYPED

    def check(self, models: Collection[str]) -> None:
        """Check that it means one of the ``models`` and is none itself. Raises RepositoryError."""
        if not self.name or not self.name.isprintable():
            raise self.error("must be a name of printable characters.")
        if self.model not in models:
            near = difflib.get_close_matches(self.model, models, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" The models are {', '.join(sorted(models)[:10])}."
            raise self.error(f"means {self.model!r}, which is not served here.{hint}")
        if self.name in models:
            raise self.error("is a model itself; choose another name.")

    def error(self, reason: str) -> RepositoryError:
        """Return the error for this alias, which names its place."""
        return RepositoryError(f"{self.place}: The alias {self.name!r} {reason}")


Aliases = tuple[Alias, ...]


def parse_aliases(text: str | None) -> Aliases:
    """Read ``NAME=MODEL,...`` as aliases. Raises RepositoryError."""
    pairs = [entry.strip() for entry in (text or "").split(",") if entry.strip()]
    found = [Alias(name.strip(), model.strip()) for name, _, model in (pair.partition("=") for pair in pairs)]
    for pair, alias in zip(pairs, found, strict=True):
        if not alias.name or not alias.model:
            raise RepositoryError(f"{TYPED}: {pair!r} must be NAME=MODEL, such as gpt-image-1=demo.")
        if [other.name for other in found].count(alias.name) > 1:
            raise alias.error("is given twice.")
    return tuple(found)


def target_of(name: str, aliases: Aliases) -> str | None:
    """Return the model that an operator's alias means; a name itself goes before one with ``*``."""
    exact = next((alias.model for alias in aliases if alias.name == name), None)
    return exact or next((alias.model for alias in aliases if fnmatchcase(name, alias.name)), None)


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
    names = [alias.name for alias in aliases if "*" not in alias.name]
    openai = [name for name in OPENAI_MODELS if with_openai or target_of(name, aliases) is not None]
    return list(dict.fromkeys(names + openai))

"""The keys of imagegen.toml, each declared once.

A new key of a model is a field of ``ModelOptions``; its reader asks ``Repository.options_of``. docs/imagegen-toml.md is
made from the descriptions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from graphs.definition.graph import MAX_GUIDANCE_SCALE

_MOST_ALIASES = 1000


def _key(default: Any, *, form: str, description: str, **bounds: Any) -> Any:
    """Return a field; ``form`` says in an error what can be written."""
    return Field(default, description=description, json_schema_extra={"form": form}, **bounds)


class ModelOptions(BaseModel):
    """The options of a model."""

    # A wrong type is an error: "2" is no number, and true is none either.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    default_size_fit: Literal["exact", "nearest"] = _key(
        "exact",
        form='"exact" or "nearest"',
        description="`size_fit` of requests that do not give it. `nearest` draws the nearest size for one that the "
        "model does not draw, and says so.",
    )
    default_guidance_scale: float | None = _key(
        None,
        ge=0,
        le=MAX_GUIDANCE_SCALE,
        form=f"a number from 0 to {MAX_GUIDANCE_SCALE:g}",
        description="`guidance_scale` of requests that do not give it. If not set, it is that of the model's family. A "
        "model whose graph.pbtxt compiles its guidance in cannot have it.",
    )
    default_response_format: Literal["b64_json", "url"] | None = _key(
        None,
        form='"b64_json" or "url"',
        description="`response_format` of requests that do not give it. If not set, it is `b64_json`, and `url` for "
        "`dall-e-*` names that are aliases.",
    )


class FileOptions(ModelOptions):
    """All that an imagegen.toml may hold."""

    aliases: list[str] = _key(
        [],
        max_length=_MOST_ALIASES,
        form='a list of names, such as ["gpt-image-*"]',
        description="Other names of this model; `*` in a name stands for anything. Only in the file of a model. Of a "
        "model that is served under the names of several adapters only, `model_aliases` says which one is meant.",
    )
    model_aliases: dict[str, str] = _key(
        {},
        max_length=_MOST_ALIASES,
        form='a table of names, such as "gpt-image-*" = "demo"',
        description='Other names of models, adapters and composites: `NAME = "MODEL"`; `*` in a name stands for '
        "anything. In the file of a model, it names those of this model.",
    )


@dataclass(frozen=True)
class MergedOptions:
    """The options of one model, and where each of them that is not at its default was written.

    ``written`` are those of the imagegen.toml files alone, without what was typed at the start of one process.
    """

    values: ModelOptions = field(default_factory=ModelOptions)
    origins: Mapping[str, str] = field(default_factory=dict)
    written: ModelOptions = field(default_factory=ModelOptions)

    def origin(self, key: str) -> str:
        """Return the place of an option's value: ``FILE:LINE``, an environment variable, or ``default``."""
        return self.origins.get(key, "default")


def form_of(key: str) -> str:
    """Return what can be written for a key of FileOptions."""
    extra = FileOptions.model_fields[key].json_schema_extra
    return str(extra["form"]) if isinstance(extra, dict) else ""

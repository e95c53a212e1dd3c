"""Makes docs/imagegen-toml.md from the code: the keys of imagegen.toml."""

from collections.abc import Iterator

from graphs.own_options.schema import FileOptions, ModelOptions, form_of
from tools.tables import table

_PAGE = """\
# imagegen.toml

<!-- Written by `make reference` from graphs/own_options/schema.py and tools/own_options_page.py; edit those. -->

Options that OpenVINO Model Server does not have stand in a file of their own, so that `graph.pbtxt` and `config.json`
stay as it reads them. The file is named `imagegen.toml` ([TOML](https://toml.io/)) and is read when the service starts.
It is never needed.

| it stands | and is for |
|---|---|
| beside a `graph.pbtxt`, or in the folder of the model's files where there is none beside the graph | that model |
| in the folder of `--model_repository_path`, or beside the `config.json` of `--config_path` | all models |

In the folder of `--model_path`, it is both. For example, in the folder of all models:

```toml
default_size_fit = "nearest"

[model_aliases]
"gpt-image-*" = "sdxl"
"dall-e-3" = "watercolour"   # an adapter of a model
```

and beside the `graph.pbtxt` of `sdxl`:

```toml
default_guidance_scale = 4.5
aliases = ["pictures"]
```

An option of a request wins over one of the command line or the environment, that over the file of the model, that
over the file of all models, and that over the default. With aliases it is the same for two of the same name; apart from
that, an exact name goes before one with `*`, wherever they stand.

`imagegen validate PATH` prints the options of each model below `imagegen.toml`, with the file and the line, the
variable or the option of the command line that each comes from. A wrong key or value is refused with file, line and
the nearest name. If it is in the file of a model, that model is not served and the others are
([Serve your own model](serve-a-model.md)); if it is in the file of all models, the service does not start. A
`default_guidance_scale` of all models does not apply to a model that cannot have it, as one with a guidance scale that
is compiled in.
"""
_OF_MODELS = """\
## Options of a model

In the file of a model, or in that of all models.
"""
_NAMES = """\
## Names

The names of adapters and composites stand in `graph.pbtxt` ([LoRA adapters](lora.md)). These are other names of what
is served; `GET /models` lists them after the models, with `alias_of`. While one base model is served, the names of
OpenAI's image models mean it without any alias.
"""


def own_options_page() -> str:
    """Return docs/imagegen-toml.md."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _PAGE
    yield _OF_MODELS
    yield from _table(list(ModelOptions.model_fields))
    yield ""
    yield _NAMES
    yield from _table([key for key in FileOptions.model_fields if key not in ModelOptions.model_fields])


def _table(keys: list[str]) -> Iterator[str]:
    rows = [
        (f"`{key}`", form_of(key).replace("*", "\\*"), FileOptions.model_fields[key].description or "") for key in keys
    ]
    yield from table(("key", "value", "what it does"), rows)

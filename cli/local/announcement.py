"""What ``imagegen serve`` prints when it is ready: addresses, models, keys, and commands that can be pasted."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from cli.local.api_address import urls
from config.environment import CLIENT_API_KEY, DEFAULT_SERVER_URL, variable_that_sets
from config.http_settings import HttpSettings
from config.settings import Settings
from graphs.definition.graph import LoraMode
from graphs.errors import InvalidRequest, ModelNotFound
from graphs.repository.repository import Repository

_PROMPT = "a red circle on a blue background"
_SAVE = (
    "import base64,json,sys; "
    "open('image.png','wb').write(base64.b64decode(json.load(sys.stdin)['data'][0]['b64_json']))"
)


def announcement(settings: Settings, repository: Repository) -> str:
    """Return the lines to print: address, models, keys, commands that draw an image, documentation, how to stop.

    No key is among them: the commands read it from where the server has it from.
    """
    url, *others = urls(settings.http)
    model = _model_to_name(repository)
    key = _key_expression(settings.http)
    return "\n".join(
        (
            "",
            f"imagegen is ready: {url}/v3 (the base URL for OpenAI clients)",
            *(f"and {other}/v3" for other in others),
            *_models(settings, repository),
            *_keys(settings.http),
            *(_commands(url, model, key) if repository.routes() else ()),
            f"docs: {url}/docs",
            "Ctrl-C stops",
        )
    )


def curl_line(url: str, model: str | None = None, key: str | None = None) -> str:
    """Return a shell command that saves an image; the shell replaces ``key`` by the API key, None is no key."""
    request = {"prompt": _PROMPT, **({"model": model} if model else {})}
    body = json.dumps(request).replace("'", "\\u0027")
    authorization = f'-H "Authorization: Bearer {key}" ' if key else ""
    address = shlex.quote(f"{url}/v3/images/generations")  # shells read the brackets of IPv6 as patterns
    return f"curl -s {address} -H 'Content-Type: application/json' {authorization}-d '{body}' | python3 -c \"{_SAVE}\""


def command_line(url: str, model: str | None = None, key: str | None = None) -> str:
    """Return the shell command that does the same with ``imagegen generate``."""
    environment = f'{CLIENT_API_KEY}="{key}" ' if key else ""
    named = f" --model {shlex.quote(model)}" if model else ""
    address = f" --url {shlex.quote(url)}" if url != DEFAULT_SERVER_URL else ""
    return f'{environment}{_command_name()} generate "{_PROMPT}" -o image.png{named}{address}'


def _commands(url: str, model: str | None, key: str | None) -> Iterator[str]:
    yield "draw an image into image.png, with curl or with the command line:"
    yield ""
    yield f"  {curl_line(url, model, key)}"
    yield f"  {command_line(url, model, key)}"
    yield ""


def _model_to_name(repository: Repository) -> str | None:
    """Return the model that a request for any picture must name; None where it need not name one."""
    try:
        repository.route(None)
    except (InvalidRequest, ModelNotFound):  # several are served, or there is none
        return next((route.model for route in repository.routes()), None)
    return None


def _models(settings: Settings, repository: Repository) -> Iterator[str]:
    """Yield a line of the models and one of the adapters of each."""
    yield f"models: {', '.join(repository.graphs) or 'none'}"
    for graph in repository.graphs.values():
        kinds = {
            "adapters": [adapter.alias for adapter in graph.lora_adapters if adapter.mode is not LoraMode.FUSE],
            "blends": [composite.alias for composite in graph.composite_lora_adapters],
            "merged into the model": [a.alias for a in graph.lora_adapters if a.mode is LoraMode.FUSE],
        }
        named = "; ".join(f"{kind}: {', '.join(aliases)}" for kind, aliases in kinds.items() if aliases)
        if named:
            yield f"LoRA of {graph.name}: {named}"
    if settings.lora_folder is not None:
        yield f"adapters of {settings.lora_folder} are added as they are read: `{_command_name()} adapters list`"


def _keys(http: HttpSettings) -> Iterator[str]:
    """Yield the lines about the API keys; none where the server has no key."""
    if http.api_key_file is not None:
        source = variable_that_sets("http", "api_key_file") or "--api_key_file"
        yield f"API keys are on: each request needs a key of the file {http.api_key_file} (from {source});"
        yield "the commands below send its first key"
    elif http.api_key:
        variable = variable_that_sets("http", "api_key")
        yield f"API keys are on: each request needs the key in the environment variable {variable}, which was set here;"
        yield f"set {variable} in the terminal of the commands below too, or start without it (env -u {variable} ...)"


def _key_expression(http: HttpSettings) -> str | None:
    """Return what a shell replaces by the (first) API key, inside double quotes; None where the server has no key."""
    if http.api_key_file is not None:
        return f"$(awk 'NF && $1 !~ /^#/ {{print $1; exit}}' {shlex.quote(str(http.api_key_file))})"
    return f"${variable_that_sets('http', 'api_key')}" if http.api_key else None


def _command_name() -> str:
    """Return how this command is called from the folder in which it was started."""
    called = Path(sys.argv[0])
    if called.name != "imagegen":  # python -m cli
        called = Path(sys.executable).with_name("imagegen")
        if not called.exists():
            return f"{shlex.quote(sys.executable)} -m cli"
    found = shutil.which("imagegen")
    if found is not None and os.path.samefile(found, called):
        return "imagegen"
    absolute = called.absolute()
    if not absolute.is_relative_to(Path.cwd()):
        return shlex.quote(str(absolute))
    below = str(absolute.relative_to(Path.cwd()))
    return shlex.quote(below if os.sep in below else f"./{below}")

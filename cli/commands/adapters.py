"""``imagegen adapters``: lists and shows the adapters of a running server, and makes it look at its folder again."""

from typing import Annotated, Any

import typer

from cli.options import ServerApiKey, ServerUrl
from cli.terminal import say, show_rows

adapters = typer.Typer(
    name="adapters",
    help="List and show the LoRA adapters of a running server, and refresh its folder.",
    no_args_is_help=True,
)

_TIMEOUT_S = 30.0
_REFRESH_TIMEOUT_S = 600.0  # the server reads every new file as a whole


@adapters.command("list")
def list_adapters(url: ServerUrl = None, api_key: ServerApiKey = None) -> None:
    """List the adapters and blends that requests can choose with their model."""
    from cli.client.http_client import ServerClient  # imports httpx2, which the other commands do not need

    with ServerClient(url, api_key, _TIMEOUT_S) as client:
        models = client.models()
    own = (model for model in models if model["kind"] != "base" and not model.get("alias_of"))
    show_rows(("name", "kind", "base", "strengths"), map(_row, own))


@adapters.command()
def show(
    name: Annotated[str, typer.Argument(help="An adapter or a blend of `imagegen adapters list`.")],
    url: ServerUrl = None,
    api_key: ServerApiKey = None,
) -> None:
    """Show how much of an adapter's file the model takes: matched of all layers by component, and the rank."""
    from cli.client.http_client import ServerClient

    with ServerClient(url, api_key, _TIMEOUT_S) as client:
        model = client.model(name)
    if not model["adapters"]:
        say(f"{name} is drawn without adapters; `imagegen adapters list` lists those that there are.")
    for alias in model["adapters"].keys() - model["adapter_files"].keys():
        say(f"{alias}: its file does not fit the model any more; `imagegen doctor` says why.")
    for alias, file in model["adapter_files"].items():
        for component, layers in file["layers"].items():
            say(f"{alias}: {component} {layers['matched']} of {layers['total']} layers")
        if file["ranks"]:
            low, high = file["ranks"]
            say(f"{alias}: rank {low}" if low == high else f"{alias}: ranks {low} to {high}")
        if file["left_out"]:
            say(f"{alias}: left out: {file['left_out']}")


@adapters.command()
def refresh(url: ServerUrl = None, api_key: ServerApiKey = None) -> None:
    """Look at the folder of --lora_folder again: serve new and changed files, and no longer those that are gone."""
    from cli.client.http_client import ServerClient

    with ServerClient(url, api_key, _REFRESH_TIMEOUT_S) as client:
        answer = client.refresh_adapters()
    for change in ("added", "changed", "removed"):
        for alias in answer[change]:
            say(f"{change:<9}{alias}")
    for file in answer["left_out"]:
        say(f"left out {file['file']}: {file['reason']}")
    say(f"{answer['served']} adapters of the folder are served")


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    strengths = ", ".join(f"{alias} {alpha:g}" for alias, alpha in model["adapters"].items())
    return model["id"], model["kind"], model["base"], strengths

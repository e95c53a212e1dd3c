"""The options of a graph.pbtxt on the command line: those of OpenVINO Model Server's image generation task.

Each is declared once, here; ``configure``, ``pull`` and ``serve`` take all of them.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from cli.errors import UserError

# As Model Server reads them.
_INT64 = 2**63 - 1
_UINT64 = 2**64 - 1
IMAGE_TASK = "image_generation"
"""The only task of Model Server that this server does."""

TaskOptions = Mapping[str, str | int | float]
"""What was given, by the names of the fields of ImageGenCalculatorOptions; see graphs/repository/configuration.py."""

_Text = str | None
_Number = int | None
_OPTIONS: dict[str, Any] = {
    "task": Annotated[_Text, typer.Option("--task", help=f"`{IMAGE_TASK}`; it need not be given.")],
    "max_resolution": Annotated[_Text, typer.Option("--max_resolution", help="Largest image, as WxH.")],
    "default_resolution": Annotated[_Text, typer.Option("--default_resolution", help="Default size, as WxH.")],
    "resolution": Annotated[
        _Text, typer.Option("--resolution", help="Allowed sizes, as WxH WxH ...; a single one is compiled in.")
    ],
    "num_images_per_prompt": Annotated[
        _Number, typer.Option("--num_images_per_prompt", min=1, max=_INT64, help="Compiled in; with one resolution.")
    ],
    "guidance_scale": Annotated[
        float | None, typer.Option("--guidance_scale", help="Compiled in; with one resolution.")
    ],
    "max_num_images_per_prompt": Annotated[
        _Number, typer.Option("--max_num_images_per_prompt", min=1, max=_UINT64, help="Most images of one request.")
    ],
    "default_num_inference_steps": Annotated[
        _Number, typer.Option("--default_num_inference_steps", min=1, max=_UINT64, help="Default number of steps.")
    ],
    "max_num_inference_steps": Annotated[
        _Number, typer.Option("--max_num_inference_steps", min=1, max=_UINT64, help="Most steps of one request.")
    ],
    "plugin_config": Annotated[_Text, typer.Option("--plugin_config", help="Device options, as a JSON object.")],
    "num_streams": Annotated[
        _Number, typer.Option("--num_streams", min=1, max=_UINT64, help="NUM_STREAMS of the device options.")
    ],
}


def with_task_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a graph, in the place of its parameter ``task``, which receives those given."""
    own = inspect.signature(command).parameters
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]
    others = [parameter for name, parameter in own.items() if name != "task"]

    @functools.wraps(command)
    def run(*arguments: Any, **given: Any) -> None:
        task = _task_options({name: given.pop(name, None) for name in _OPTIONS})
        command(*arguments, task=task, **given)

    parameters = [
        *others[:1],
        *(option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in others[1:]),
        *options,
    ]
    signature = inspect.Signature(parameters)
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return run


def _task_options(given: dict[str, Any]) -> TaskOptions:
    task = given.pop("task")
    if task is not None and task != IMAGE_TASK:
        raise UserError(f"--task {task}: this server draws images only, which is --task {IMAGE_TASK}.")
    return {name: value for name, value in given.items() if value is not None}

"""``imagegen export``: converts a model of PyTorch into OpenVINO form, and proves that it means the same."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.errors import UserError
from cli.export.conversion import ExportPlan, appear, convert
from cli.export.environment import exporter_python
from cli.export.report import REPORT_FILE, write_report
from cli.export.single_file import is_single_file, read_single_file
from cli.export.source import ExportSource, read_source
from cli.local.child_environment import PROJECT_ROOT, child_environment
from cli.options import OverwriteModels, with_setting_options
from cli.terminal import say
from config.machine_memory import memory_bytes
from config.settings import Settings
from graphs.repository.servables import MODEL_INDEX

_GIB = 2**30
_SHARE_OF_MEMORY = 0.9

Source = Annotated[
    Path, typer.Argument(help="The model: a folder in diffusers form, or one .safetensors file of SD 1, SD 2 or SDXL.")
]
WeightFormat = Annotated[
    Literal["fp32", "fp16", "int8", "int4"],
    typer.Option(
        "--weight-format",
        "--weight_format",
        help="Precision of the weights. int4 is for the denoiser; the other parts get int8 then.",
    ),
]
GroupSize = Annotated[int, typer.Option("--group-size", "--group_size", help="Weights that share a scale, with int4.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder of the result; without it, SOURCE-FORMAT-ov beside the source."),
]
PredictionType = Annotated[
    Literal["epsilon", "v_prediction"] | None,
    typer.Option(
        "--prediction-type",
        "--prediction_type",
        help="What a single file's denoiser predicts; without it, what the file says, else epsilon.",
    ),
]
MemoryLimit = Annotated[
    float | None,
    typer.Option("--memory_limit_gib", min=0.1, help="Memory that the conversion may take; without it, nine tenths."),
]


@with_setting_options
def export(
    settings: Settings,
    source: Source,
    weight_format: WeightFormat = "int8",
    group_size: GroupSize = 64,
    output: Output = None,
    prediction_type: PredictionType = None,
    memory_limit_gib: MemoryLimit = None,
    overwrite_models: OverwriteModels = False,
) -> None:
    """Convert a model of PyTorch into OpenVINO form.

    Before the result appears, each part is compared with PyTorch on the same input, and the model draws a picture. A
    conversion that was interrupted goes on after the last finished part.
    """
    found = _read(source.absolute(), prediction_type)
    name = source.stem if found.single_file else source.name
    target = (output or source.with_name(f"{name}-{weight_format}-ov")).absolute()
    if (target / MODEL_INDEX).exists() and not overwrite_models:
        raise UserError(f"{target} is there already; --overwrite_models makes it anew.")
    limit_bytes = int(memory_limit_gib * _GIB) if memory_limit_gib else int(_SHARE_OF_MEMORY * memory_bytes())
    plan = ExportPlan(found, target, weight_format, group_size, limit_bytes)
    plan.check()
    say(
        f"{found.class_name} with {found.total / 1e6:.0f} million parameters to {weight_format}: about "
        f"{plan.memory_bytes / _GIB:.1f} GiB of memory, {plan.disk_bytes / _GIB:.1f} GiB on the disk",
        err=True,
    )
    python = exporter_python(settings.data_dir)
    done = convert(python, plan, _tell)
    say("drawing a first picture", err=True)
    _check_picture(settings, plan.stage)
    write_report(plan, done, plan.stage)
    appear(plan, overwrite=overwrite_models)
    say(f"exported to {target}; {REPORT_FILE} there has the figures", err=True)
    say(f"serve it: imagegen serve --model_path {target}")


def _read(source: Path, prediction_type: str | None) -> ExportSource:
    if is_single_file(source):
        found, sentence = read_single_file(source, prediction_type)
        say(sentence, err=True)
        return found
    if prediction_type is not None:
        raise UserError("--prediction_type is for a single file; a folder's scheduler_config.json has it.")
    return read_source(source)


def _tell(event: dict[str, Any]) -> None:
    """Print a line about the converter's progress."""
    if event.get("step") == "converting":
        size = f"{event['parameters'] / 1e6:.1f} million parameters"
        say(f"{event['number']} of {event['of']}: {event['part']} ({size})", err=True)
    elif event.get("step") == "proved":
        say(f"  like PyTorch's: relative error {event['error']:.2g}, cosine {event['cosine']:.5f}", err=True)
    elif event.get("step") in ("loading", "tokenizers"):
        say({"loading": "loading the model", "tokenizers": "converting the tokenizers"}[event["step"]], err=True)


def _check_picture(settings: Settings, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "workers.engine.first_picture", str(folder)],
        cwd=PROJECT_ROOT,
        env=child_environment(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["the process ended"])[-1]
        raise UserError(f"the converted model draws no picture: {last}")

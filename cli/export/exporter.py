"""Converts models of PyTorch as the options of one command say: a folder, or what is pulled from Hugging Face."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.errors import UserError
from cli.export.compression import DEFAULT_FORMAT, Compression, WeightFormat, read_compression
from cli.export.conversion import ExportPlan, appear, convert, held
from cli.export.environment import bytes_to_install, exporter_python
from cli.export.report import REPORT_FILE, write_report
from cli.export.source import ExportSource, read_source
from cli.local.child_environment import PROJECT_ROOT, child_environment
from cli.terminal import say
from config.machine_memory import memory_bytes
from config.settings import Settings
from graphs.errors import RepositoryError
from graphs.families.model_facts import read_model_facts
from graphs.repository.scheduler_config import check_scheduler

_GIB = 2**30
_SHARE_OF_MEMORY = 0.9
# A parameter has four bytes at most, so that a model has at least so many of them.
_MOST_BYTES_PER_PARAMETER = 4


class Exporter:
    """Converts models; it is the ``Converter`` of a pull, too."""

    def __init__(
        self,
        settings: Settings,
        weight_format: WeightFormat | None,
        extra_quantization_params: str | None,
        *,
        group_size: int | None = None,
        memory_limit_gib: float | None = None,
    ) -> None:
        """The options are those of the command line, None for one that is not given. Raises UserError."""
        self._settings = settings
        self._compression, self._said = read_compression(
            weight_format or DEFAULT_FORMAT, extra_quantization_params, group_size
        )
        self.given = [
            f"--{name}"
            for name, value in (
                ("weight-format", weight_format),
                ("extra_quantization_params", extra_quantization_params),
            )
            if value is not None
        ]
        limit = memory_limit_gib * _GIB if memory_limit_gib else _SHARE_OF_MEMORY * memory_bytes()
        self._memory_limit_bytes = int(limit)

    @property
    def compression(self) -> Compression:
        """How the weights are compressed."""
        return self._compression

    def is_as_asked(self, folder: Path) -> bool:
        """Return whether a model that is there was exported with the same compression."""
        try:
            report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
            return bool(Compression(**report["compression"]) == self._compression)
        except (OSError, ValueError, TypeError, KeyError):
            return False

    def check(self, folder: Path, target: Path, weight_bytes: Mapping[str, int], left_bytes: int) -> None:
        """Check before the weights come; prepare the environment. Raises UserError."""
        try:
            check_scheduler(folder, read_model_facts(folder))
        except RepositoryError as error:
            raise UserError(f"the model cannot be served, so it is not fetched: {error.message}") from error
        parameters = {part: size // _MOST_BYTES_PER_PARAMETER for part, size in weight_bytes.items()}
        plan = self._plan(ExportSource(folder, "", parameters), target)
        say(
            f"it is a model of PyTorch: {left_bytes / _GIB:.1f} GiB are fetched, then it is converted to "
            f"{self._compression.weight_format}, with at least {plan.memory_bytes / _GIB:.1f} GiB of memory",
            err=True,
        )
        plan.check_memory()
        data_dir = self._settings.data_dir
        _check_room([(folder, left_bytes), (target, plan.disk_bytes), (data_dir, bytes_to_install(data_dir))])
        exporter_python(data_dir)

    def convert(self, folder: Path, target: Path, model: str) -> None:
        """Convert what was pulled, in the place of a folder that is there. Raises UserError."""
        self.export(read_source(folder), target, model=model, overwrite=True)

    def export(self, source: ExportSource, target: Path, *, model: str, overwrite: bool) -> None:
        """Convert a model, let it draw a picture, and give it its place. Raises UserError.

        ``model`` is what the report calls the source; for one from Hugging Face with its commit.
        """
        for sentence in self._said:
            say(f"{sentence}.", err=True)
        plan = self._plan(source, target, model)
        plan.check()
        say(
            f"{source.class_name} with {source.total / 1e6:.0f} million parameters to "
            f"{self._compression.weight_format}: about {plan.memory_bytes / _GIB:.1f} GiB of memory, "
            f"{plan.disk_bytes / _GIB:.1f} GiB on the disk",
            err=True,
        )
        with held(plan.stage):
            done = convert(exporter_python(self._settings.data_dir), plan, _tell)
            say("drawing a first picture", err=True)
            _check_picture(self._settings, plan.stage)
            write_report(plan, done, plan.stage)
            appear(plan, overwrite=overwrite)
        say(f"exported to {target}; {REPORT_FILE} there has the figures", err=True)

    def _plan(self, source: ExportSource, target: Path, model: str = "") -> ExportPlan:
        return ExportPlan(source, target, self._compression, self._memory_limit_bytes, model)


def _check_room(needs: list[tuple[Path, int]]) -> None:
    """Raise UserError where a disk has too little room for all that comes onto it."""
    by_disk: dict[int, int] = {}
    for path, size in needs:
        folder = next(one for one in (path, *path.parents) if one.exists())
        device = folder.stat().st_dev
        by_disk[device] = by_disk.get(device, 0) + size
        free = shutil.disk_usage(folder).free
        if by_disk[device] > free:
            raise UserError(
                f"what is fetched, the model that is made of it and the environment with PyTorch take at least "
                f"{by_disk[device] / _GIB:.1f} GiB on the disk of {folder}, which has {free / _GIB:.1f} free; make "
                "room, or choose other folders with --model_repository_path and --data_dir."
            )


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

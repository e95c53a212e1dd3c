"""Models that are fetched from Hugging Face: their progress on the terminal, and the graph.pbtxt that they get."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cli.errors import UserError
from cli.export.exporter import Exporter
from cli.models.source_adapters import write_graph
from cli.task_options import TaskOptions
from cli.terminal import say, terminal
from config.environment import model_server_models_folder
from config.settings import Settings
from graphs.definition.graph import Graph
from graphs.errors import GraphError
from graphs.families.distilled import few_steps_of
from graphs.families.model_facts import read_model_facts
from graphs.own_options.options_file import OPTIONS_FILE
from graphs.repository.configuration import configured
from graphs.repository.servables import GRAPH_FILE

# How often a line is printed where there is no terminal.
_LINE_EVERY_S = 5.0
_MIB = 2**20


def models_folder(settings: Settings) -> Path:
    """Return where fetched models are kept: the model repository, else the folder that Model Server's variable names,
    else one in the data folder.
    """
    named = settings.repository.model_repository_path or model_server_models_folder()
    return named or settings.data_dir / "models"


def is_pulled(settings: Settings, text: str) -> bool:
    """Return whether the model that ``text`` names is on this machine already."""
    from workers.sources.models.selection import MODEL_INDEX
    from workers.sources.models.source import parse_model_source

    return (models_folder(settings) / parse_model_source(text).name / MODEL_INDEX).is_file()


@dataclass(frozen=True)
class PulledGraph:
    """The graph of a fetched model; ``is_new`` is false where its graph.pbtxt was there, and stayed as it is."""

    graph: Graph
    folder: Path
    is_new: bool


def pull(settings: Settings, text: str, given: TaskOptions, exporter: Exporter, *, overwrite: bool) -> PulledGraph:
    """Fetch the model that ``text`` names unless it is there, and convert it where it is one of PyTorch; write its
    graph.pbtxt, with the options given, unless there is one.

    Raises ConfigurationError, and UserError where a file cannot be written.
    """
    # Imported here: they import huggingface_hub, which slows down the start of other commands.
    from workers.sources.models.pull import pull_model
    from workers.sources.models.source import parse_model_source

    source = parse_model_source(text)
    root = models_folder(settings)
    check_options(source.name, given)
    with PullProgress(source.name) as view:
        pulled = pull_model(source, root, settings.downloads, view, exporter, overwrite=overwrite)
    say(f"{source.name}: {'pulled to' if pulled.is_new else 'is there already:'} {pulled.folder}", err=True)
    if not pulled.is_converted and exporter.given and not exporter.is_as_asked(pulled.folder):
        why = "it is in OpenVINO form" if pulled.is_new else "--overwrite_models fetches it anew"
        say(f"{source.name}: {' and '.join(exporter.given)} changed nothing: {why}", err=True)
    path = pulled.folder / GRAPH_FILE
    if path.exists():
        return PulledGraph(configured(path, source.name, {}), pulled.folder, is_new=False)
    device = {"device": settings.repository.target_device}
    return PulledGraph(write_new_graph(path, source.name, {**device, **given}), pulled.folder, is_new=True)


def check_options(name: str, given: TaskOptions) -> None:
    """Raise UserError for options that no graph can have: before the download, which may take an hour."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            configured(Path(folder) / GRAPH_FILE, name, given)
        except GraphError as error:
            raise UserError(str(error).removeprefix(f"{folder}/")) from error


def write_new_graph(path: Path, name: str, given: TaskOptions) -> Graph:
    """Write the graph.pbtxt of a model that was fetched or converted; a distilled one gets its steps and guidance."""
    folder = path.parent
    few = few_steps_of(name, read_model_facts(folder))
    defaults: dict[str, str | int | float] = {}
    if few is not None:
        most = int(given.get("max_num_inference_steps") or few.num_inference_steps)
        defaults["default_num_inference_steps"] = min(few.num_inference_steps, most)
        _write_guidance(folder / OPTIONS_FILE, few.guidance_scale)
    graph = configured(path, name, {**defaults, **given})
    write_graph(graph)
    return graph


def _write_guidance(path: Path, guidance_scale: float | None) -> None:
    """Write the guidance of a distilled model: graph.pbtxt has no place for the default of a request."""
    if guidance_scale is None or path.exists():
        return
    path.write_text(
        "# This model was distilled to draw without guidance; a request may still ask for it.\n"
        f"default_guidance_scale = {guidance_scale}\n",
        encoding="utf-8",
    )


class PullProgress:
    """What a pull prints: a bar on a terminal; elsewhere a line every few seconds."""

    def __init__(self, name: str) -> None:
        console = terminal(err=True)
        self._name = name
        self._is_terminal = console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._total_bytes = 0
        self._next_line_at = 0.0

    def __enter__(self) -> "PullProgress":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.stop()
        if kind is KeyboardInterrupt:
            self.say("stopped; what has arrived is kept, and the same command goes on from there")

    def begin(self, total_bytes: int) -> None:
        """Show the bar of so many bytes."""
        self._total_bytes = total_bytes
        self._task = self._bar.add_task(self._name, total=total_bytes)
        if not self._is_terminal:
            say(f"{self._name}: {total_bytes / _MIB:,.0f} MiB to fetch", err=True)
            self._next_line_at = time.monotonic() + _LINE_EVERY_S

    def progress(self, done_bytes: int) -> None:
        """Show how many of them are here."""
        if self._task is not None:
            self._bar.update(self._task, completed=done_bytes)
        if not self._is_terminal and self._total_bytes and time.monotonic() >= self._next_line_at:
            share = done_bytes / self._total_bytes
            say(
                f"{self._name}: {done_bytes / _MIB:,.0f} of {self._total_bytes / _MIB:,.0f} MiB ({share:.0%})", err=True
            )
            self._next_line_at = time.monotonic() + _LINE_EVERY_S

    def end(self) -> None:
        """Take the bar away: lines about the conversion follow."""
        self._bar.stop()

    def say(self, sentence: str) -> None:
        """Print a sentence after the model's name."""
        say(f"{self._name}: {sentence}", err=True)

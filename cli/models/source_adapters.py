"""Adapters given with ``--source_loras``: downloads them and writes them into a graph.pbtxt."""

import os
from collections.abc import Mapping
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
from cli.terminal import say, terminal
from config.printable import printable
from config.settings import DownloadSettings, Settings
from graphs.adapters.sources import SourceLoras, parse_source_loras
from graphs.definition.graph import Graph
from graphs.definition.reader import read_graph
from graphs.definition.source_lines import Source
from graphs.definition.writer import format_graph
from graphs.errors import GraphError
from graphs.own_options.options_file import options_file_in
from graphs.repository.bundled import bundled_model_path, options_root
from graphs.repository.configuration import configured, with_more_adapters
from graphs.repository.repository import Repository
from graphs.repository.servables import GRAPH_FILE


def serve_adapters(settings: Settings, repository: Repository, text: str) -> Settings:
    """Download the adapters of a ``--source_loras`` for the only graph, add them to its own, write its graph.pbtxt,
    and return the settings that serve it. What changes of the graph's own adapters is printed.

    If the model's folder must not be written to, the graph.pbtxt and the adapters go below the data directory.
    Raises UserError or ConfigurationError.
    """
    graph = repository.base_graph
    if graph is None:
        parse_source_loras(text)
        names = ", ".join(sorted(repository.graphs))
        raise UserError(
            f"--source_loras is for a single model, and several are served ({names}); choose one with --model_path."
        )
    sources = parse_source_loras(text, {a.alias: a.alpha if a.alpha_given else None for a in graph.lora_adapters})
    written = Source(graph.path, graph.path.read_text(encoding="utf-8-sig")) if graph.path else Source()
    path = graph.path or graph.models_path / GRAPH_FILE
    in_place = _may_write(path)
    if not in_place:
        _check_options_stay(settings, graph, path.parent, f"{path.parent} must not be written to")
        path = settings.data_dir / "graphs" / graph.name / GRAPH_FILE
    graph = graph.model_copy(update={"path": path})
    graph, changes = with_more_adapters(graph, sources, fetch_all(sources, path.parent, settings.downloads), written)
    for sentence in changes:
        say(f"--source_loras: {sentence} in {GRAPH_FILE}.", err=True)
    write_graph(graph)
    return settings if in_place else _serving(settings, graph.name, path.parent)


def serve_task_options(settings: Settings, repository: Repository, given: Mapping[str, str | int | float]) -> Settings:
    """Return the settings that serve the only graph with these options of a graph.pbtxt, which win over its own.

    The model's own graph.pbtxt stays as it is: the changed one goes below the data directory. Raises UserError or
    ConfigurationError.
    """
    graph = repository.base_graph
    if graph is None:
        options = ", ".join(f"--{name}" for name in given)
        names = ", ".join(sorted(repository.graphs))
        raise UserError(
            f"{options}: for a single model, and several are served ({names}); choose one with --model_path."
        )
    own = graph.path or graph.models_path / GRAPH_FILE
    _check_options_stay(settings, graph, own.parent, "options of the command line change no file")
    path = settings.data_dir / "graphs" / graph.name / GRAPH_FILE
    device = {"device": " ".join(graph.device)}
    write_graph(configured(own, graph.name, {**device, **given}).model_copy(update={"path": path}))
    return _serving(settings, graph.name, path.parent)


def _serving(settings: Settings, name: str, folder: Path) -> Settings:
    """Return the settings that serve one graph of a folder under this name."""
    served = {"model_repository_path": None, "config_path": None, "model_path": folder, "model_name": name}
    return settings.model_copy(update={"repository": settings.repository.model_copy(update=served)})


def _check_options_stay(settings: Settings, graph: Graph, folder: Path, why: str) -> None:
    """Check that a graph.pbtxt in another folder keeps all of the model's options. Raises UserError."""
    repository = settings.repository
    root = options_root(model_repository_path=repository.model_repository_path, config_path=repository.config_path)
    of_all = options_file_in(root) if root is not None else None
    if of_all is not None and of_all.parent != graph.models_path:
        raise UserError(
            f"{why}, so the changed graph.pbtxt would stand where {of_all} is not read; change {folder / GRAPH_FILE} "
            "yourself, or move the options beside the model."
        )


def checked_sources(text: str) -> SourceLoras:
    """Parse a ``--source_loras`` and look for its files on this machine: before a model is fetched, which may take an
    hour. Raises ConfigurationError.
    """
    # Imported here for the same reason as below.
    from workers.sources.fetch import check_local_files

    sources = parse_source_loras(text)
    check_local_files(sources.adapters)
    return sources


def fetch_all(sources: SourceLoras, folder: Path, settings: DownloadSettings) -> dict[str, Path]:
    """Download every adapter to ``<folder>/loras`` and return the files by alias.

    Progress is shown on a terminal; elsewhere a line says what was downloaded. Raises
    ConfigurationError naming the adapter.
    """
    # Imported here: it imports huggingface_hub, which slows down the start of commands that need no adapters.
    from workers.sources.fetch import fetch

    console = terminal(err=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    files: dict[str, Path] = {}
    downloaded: set[str] = set()
    with Progress(
        *columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        for source in sources.adapters:
            task = progress.add_task(printable(source.alias), total=None, visible=source.kind != "local")

            def show(done: int, total: int | None, task: TaskID = task, alias: str = source.alias) -> None:
                downloaded.add(alias)
                progress.update(task, completed=done, total=total)

            files[source.alias] = fetch(source, folder, settings.for_operator(), show)
            progress.update(task, visible=False)
            if source.alias in downloaded and not console.is_terminal:
                say(f"adapter {source.alias}: {files[source.alias]}", err=True)
    return files


def write_graph(graph: Graph) -> str:
    """Write a graph to its path and return the text; a file that already defines the same graph is left as it is.

    Raises UserError if it cannot be written.
    """
    text = format_graph(graph)
    path = graph.path
    if path is None:
        raise ValueError("a graph without a path cannot be written")
    if _reads_as(graph, path):
        return path.read_text(encoding="utf-8-sig")
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    return text


def _reads_as(graph: Graph, path: Path) -> bool:
    try:
        return read_graph(path, graph.name) == graph
    except GraphError:  # there is no file, or one that cannot be served and is replaced
        return False


def _may_write(path: Path) -> bool:
    """Return whether the graph.pbtxt may be written; the bundled model belongs to the installation."""
    if path.resolve().is_relative_to(bundled_model_path()):
        return False
    return os.access(path.parent, os.W_OK | os.X_OK) and (not path.exists() or os.access(path, os.W_OK))

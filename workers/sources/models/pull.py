"""Pulls a model from Hugging Face into a folder that appears only when it is whole.

The files of a model of PyTorch are brought in the same way; then a converter makes the folder of them.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from config.settings import DownloadSettings
from graphs.errors import ConfigurationError
from graphs.families.model_facts import read_model_facts
from workers.sources.hub_errors import Unreachable
from workers.sources.models.choice import Choice, choose_files, whole_in
from workers.sources.models.listing import (
    Listing,
    RepositoryFile,
    cached_snapshot,
    list_repository,
    listing_of_snapshot,
    save_listing,
    saved_listing,
)
from workers.sources.models.selection import MODEL_INDEX, check_kind
from workers.sources.models.source import ModelSource
from workers.sources.models.staging import (
    appear,
    check_room,
    keep_only,
    left_bytes,
    listing_file,
    locked,
    mark_whole,
    remove_converted,
    stage_of,
)
from workers.sources.models.transfer import Transfer, with_patience


class PullView(Protocol):
    """What a pull tells of its progress."""

    def begin(self, total_bytes: int) -> None:
        """The size of all files is known."""

    def progress(self, done_bytes: int) -> None:
        """So many bytes of them are here."""

    def end(self) -> None:
        """All of them are here."""

    def say(self, sentence: str) -> None:
        """Something that people should know."""


class Converter(Protocol):
    """Makes a model of OpenVINO of the files of PyTorch that were pulled. What it raises ends the pull."""

    def check(self, folder: Path, target: Path, weight_bytes: Mapping[str, int], left_bytes: int) -> None:
        """Check, before the weights come, that they can be converted to ``target``.

        ``folder`` has all other files, ``weight_bytes`` the size of the weights of each part, and ``left_bytes`` are
        still to come.
        """

    def convert(self, folder: Path, target: Path, model: str) -> None:
        """Write the model to ``target``, in the place of one that is there; ``model`` is its name with the commit."""


@dataclass(frozen=True)
class Pulled:
    """The model's folder; ``is_new`` is false where it was there already."""

    folder: Path
    is_new: bool
    is_converted: bool = False


def pull_model(
    source: ModelSource,
    root: Path,
    settings: DownloadSettings,
    view: PullView,
    converter: Converter,
    *,
    overwrite: bool = False,
) -> Pulled:
    """Return the folder ``<root>/<org>/<name>`` of a model; fetch its files unless it is there.

    What the Hub's cache on this machine holds is taken from it; the rest is downloaded, and an attempt that broke off
    goes on. A model of PyTorch is converted. Raises ConfigurationError with one sentence, and what the converter
    raises.
    """
    target = root.expanduser().absolute() / source.name
    stage = stage_of(root, source)
    if not overwrite and _is_there(target):
        remove_converted(stage, target)
        return Pulled(target, is_new=False)
    with _gathering(stage, target):
        pull = _Pull(source, stage, settings, view)
        choice = pull.choose()
        if choice.is_torch:
            pull.convert(choice, converter, target)
        else:
            pull.bring(choice)
            appear(stage, target)
    return Pulled(target, is_new=True, is_converted=choice.is_torch)


def pull_and_convert(
    source: ModelSource, root: Path, target: Path, settings: DownloadSettings, view: PullView, converter: Converter
) -> None:
    """Convert a model of PyTorch to a folder anywhere; its files gather below ``root``, as those of ``pull_model``.

    Raises ConfigurationError, also for a model in OpenVINO's form, and what the converter raises.
    """
    stage = stage_of(root, source)
    with _gathering(stage, target):
        pull = _Pull(source, stage, settings, view)
        choice = pull.choose()
        if not choice.is_torch:
            raise ConfigurationError(
                f"the repository {source.name} is in OpenVINO's form already: `imagegen pull {source}` fetches it."
            )
        pull.convert(choice, converter, target)


def _is_there(target: Path) -> bool:
    if (target / MODEL_INDEX).is_file():
        return True
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigurationError(
            f"{target} is there, and has no {MODEL_INDEX}: remove it, or replace it with --overwrite_models."
        )
    return False


@contextmanager
def _gathering(stage: Path, target: Path) -> Iterator[None]:
    """Hold the lock of the staging folder; what cannot be written is one sentence."""
    try:
        with locked(stage):
            yield
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror or error}.") from error


class _Pull:
    """One attempt to bring the files of a model into a staging folder, which is locked."""

    def __init__(self, source: ModelSource, stage: Path, settings: DownloadSettings, view: PullView) -> None:
        self._source = source
        self._stage = stage
        self._view = view
        self._listing, snapshot = _listing(source, stage, settings, view)
        self._listed = self._listing.by_name()
        check_kind(source.name, self._listed)
        keep_only(stage, self._listing.commit)
        self._transfer = Transfer(source, self._listing, snapshot, settings, view.say)

    def choose(self) -> Choice:
        """Return what is brought. Raises ConfigurationError where the repository has nothing to bring."""
        index = self._transfer.fetch(self._listed[MODEL_INDEX], self._stage, lambda _: None)
        return choose_files(self._source.name, index.read_bytes(), self._listed)

    def bring(self, choice: Choice) -> None:
        """Bring the files."""
        files = self._files(choice.files)
        check_room(self._stage, files)
        self._view.begin(sum(file.size for file in files))
        done = 0
        for file in files:
            before = done
            self._transfer.fetch(
                file,
                self._stage,
                lambda here, before=before: self._view.progress(before + here),  # type: ignore[misc]
            )
            done += file.size
            self._view.progress(done)
        self._view.end()
        read_model_facts(self._stage)

    def convert(self, choice: Choice, converter: Converter, target: Path) -> None:
        """Bring the files and convert them; then they are removed."""
        weights = choice.weights
        for file in self._files(name for name in choice.files if name not in weights):
            self._transfer.fetch(file, self._stage, lambda _: None)
        sizes: dict[str, int] = {}
        for file in self._files(weights):
            part = PurePosixPath(file.name).parts[0]
            sizes[part] = sizes.get(part, 0) + file.size
        converter.check(self._stage, target, sizes, left_bytes(self._stage, self._files(weights)))
        self.bring(choice)
        mark_whole(self._stage)
        try:
            converter.convert(self._stage, target, f"{self._source.name}@{self._listing.commit}")
        except Exception:
            self._view.say(f"what was fetched is kept in {self._stage}; the same command goes on from there")
            raise
        shutil.rmtree(self._stage)

    def _files(self, names: Iterable[str]) -> list[RepositoryFile]:
        return [self._listed[name] for name in names]


def _listing(
    source: ModelSource, stage: Path, settings: DownloadSettings, view: PullView
) -> tuple[Listing, Path | None]:
    """Return what to fetch: of the cache where it holds all, else what an attempt before listed, else the Hub's."""
    snapshot = cached_snapshot(source)
    cached = whole_in(snapshot) if snapshot is not None else None
    if snapshot is not None and cached is not None and not cached.is_torch:
        view.say(f"taken from the cache of Hugging Face: {snapshot}")
        return listing_of_snapshot(source, snapshot), snapshot
    path = listing_file(stage, source)
    listing = saved_listing(path)
    if listing is None:
        try:
            listing = with_patience(lambda: list_repository(source, settings), lambda: 0, view.say)
        except Unreachable:
            # What is converted is looked for at the Hub first: it may have the model in OpenVINO's form by now.
            if snapshot is None or cached is None:
                raise
            view.say(f"taken from the cache of Hugging Face: {snapshot}")
            return listing_of_snapshot(source, snapshot), snapshot
        save_listing(listing, path)
    if listing.is_public_without_token:
        view.say(f"the token in HF_TOKEN is not valid; {source.name} is public, and is pulled without it")
    if listing.named != source.name:
        view.say(f"{source.name} is called {listing.named} now; it is served under the name that you gave")
    return listing, snapshot

"""Pulls a model from Hugging Face into a folder that appears only when it is whole."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from config.settings import DownloadSettings
from graphs.errors import ConfigurationError
from graphs.families.model_facts import read_model_facts
from workers.sources.models.listing import (
    Listing,
    RepositoryFile,
    cached_snapshot,
    list_repository,
    listing_of_snapshot,
    save_listing,
    saved_listing,
)
from workers.sources.models.selection import MODEL_INDEX, check_kind, files_to_serve
from workers.sources.models.source import ModelSource
from workers.sources.models.transfer import Transfer, with_patience

_LISTING = ".listing.json"
# What a file system needs beside the files themselves.
_SPARE_BYTES = 64 * 2**20


class PullView(Protocol):
    """What a pull tells of its progress."""

    def begin(self, total_bytes: int) -> None:
        """The size of all files is known."""

    def progress(self, done_bytes: int) -> None:
        """So many bytes of them are here."""

    def say(self, sentence: str) -> None:
        """Something that people should know."""


@dataclass(frozen=True)
class Pulled:
    """The model's folder; ``is_new`` is false where it was there already."""

    folder: Path
    is_new: bool


def pull_model(
    source: ModelSource, root: Path, settings: DownloadSettings, view: PullView, *, overwrite: bool = False
) -> Pulled:
    """Return the folder ``<root>/<org>/<name>`` of a model; fetch its files unless it is there.

    What the Hub's cache on this machine holds is taken from it; the rest is downloaded, and an attempt that broke off
    goes on. Raises ConfigurationError with one sentence.
    """
    target = root.expanduser().absolute() / source.name
    if not overwrite and _is_there(target):
        return Pulled(target, is_new=False)
    stage = target.with_name(f".{target.name}.part")
    try:
        with _locked(stage):
            _fill(source, stage, settings, view)
            _appear(stage, target)
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror or error}.") from error
    return Pulled(target, is_new=True)


def _is_there(target: Path) -> bool:
    if (target / MODEL_INDEX).is_file():
        return True
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigurationError(
            f"{target} is there, and has no {MODEL_INDEX}: remove it, or replace it with --overwrite_models."
        )
    return False


@contextmanager
def _locked(stage: Path) -> Iterator[None]:
    """Create the folder in which the files gather, and hold its lock."""
    stage.mkdir(parents=True, exist_ok=True)
    lock = os.open(stage, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"another process pulls this model ({stage} is locked); wait until it has ended."
            ) from None
        yield
    finally:
        os.close(lock)


def _fill(source: ModelSource, stage: Path, settings: DownloadSettings, view: PullView) -> None:
    listing, snapshot = _listing(source, stage, settings, view)
    listed = listing.by_name()
    check_kind(source.name, listed)
    transfer = Transfer(source, listing, snapshot, settings, view.say)
    index = transfer.fetch(listed[MODEL_INDEX], stage, lambda _: None)
    files = [listed[name] for name in files_to_serve(source.name, index.read_bytes(), listed)]
    _check_room(stage, files)
    view.begin(sum(file.size for file in files))
    done = 0
    for file in files:
        before = done
        transfer.fetch(file, stage, lambda here, before=before: view.progress(before + here))  # type: ignore[misc]
        done += file.size
        view.progress(done)
    read_model_facts(stage)


def _listing(
    source: ModelSource, stage: Path, settings: DownloadSettings, view: PullView
) -> tuple[Listing, Path | None]:
    """Return what to fetch: of the cache where it holds all, else what an attempt before listed, else the Hub's."""
    snapshot = cached_snapshot(source)
    if snapshot is not None and _is_whole(source, snapshot):
        view.say(f"taken from the cache of Hugging Face: {snapshot}")
        return listing_of_snapshot(source, snapshot), snapshot
    path = stage / f"{_LISTING}.{source.revision.replace('/', '_')}"
    listing = saved_listing(path)
    if listing is None:
        listing = with_patience(lambda: list_repository(source, settings), lambda: 0, view.say)
        save_listing(listing, path)
    if listing.is_public_without_token:
        view.say(f"the token in HF_TOKEN is not valid; {source.name} is public, and is pulled without it")
    if listing.named != source.name:
        view.say(f"{source.name} is called {listing.named} now; it is served under the name that you gave")
    return listing, snapshot


def _is_whole(source: ModelSource, snapshot: Path) -> bool:
    """Return whether a folder of the cache has all that serving needs."""
    try:
        listed = listing_of_snapshot(source, snapshot).by_name()
        files_to_serve(source.name, (snapshot / MODEL_INDEX).read_bytes(), listed)
        read_model_facts(snapshot)
    except (ConfigurationError, OSError):
        return False
    return all(_has_networks(snapshot / part.name) for part in snapshot.iterdir() if part.is_dir())


def _has_networks(part: Path) -> bool:
    """Return whether the weights of each network of a part are there: a stopped download may lack them."""
    return all(network.with_suffix(".bin").is_file() for network in part.glob("openvino_*.xml"))


def _check_room(stage: Path, files: list[RepositoryFile]) -> None:
    here = sum(_size(stage / file.name) or _size(stage / f"{file.name}.part") for file in files)
    needed = sum(file.size for file in files) - here + _SPARE_BYTES
    free = shutil.disk_usage(stage).free
    if free < needed:
        raise ConfigurationError(
            f"the model needs {needed / 2**20:,.0f} MiB more on the disk of {stage.parent}, which has "
            f"{free / 2**20:,.0f} MiB free; make room, or choose another folder with --model_repository_path."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _appear(stage: Path, target: Path) -> None:
    """Give the folder its name, in the place of one that is there."""
    for left in stage.glob(f"{_LISTING}*"):
        left.unlink()
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(stage, target)
    shutil.rmtree(old, ignore_errors=True)

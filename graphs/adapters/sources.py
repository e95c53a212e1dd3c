"""The grammar of ``--source_loras``, which names the adapters to serve and their sources.

    alias=source[:alpha],mix=@alias:alpha+@alias:alpha,...

A source is a URL, a local path or a Hugging Face repository (``org/repo`` or ``org/repo@file``). They are
distinguished by the three rules of OpenVINO Model Server's documentation, in their order. Spaces around any part are
ignored.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn
from urllib.parse import unquote, urlsplit

from graphs.definition.devices import uses_npu
from graphs.definition.graph import LoraMode, check_alias
from graphs.errors import GraphError

SourceKind = Literal["hugging_face", "url", "local"]
FIELD = "source_loras"
SUFFIX = ".safetensors"

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_URL = re.compile(r"https?://", re.IGNORECASE)
_LOCAL = re.compile(r"/|\./|\.\\|[A-Za-z]:[\\/]")
# The characters that the Hub itself allows in the two halves of a repository's name.
_REPOSITORY = re.compile(r"(?!.*(--|\.\.))\w[\w.-]{0,95}(?<![.-])/\w[\w.-]{0,95}(?<![.-])", re.ASCII)
_NEXT_COMPONENT = re.compile(r"\+(?=\s*@)")  # there is no @ after the plus of an exponent (1e+5)
_COMMA_HINT = "entries are separated by commas, so a file name or URL cannot contain one (write %2C in a URL)"


@dataclass(frozen=True)
class LoraSource:
    """One adapter: ``location`` is the URL, the path or ``org/repo``; ``file`` is the file within the repository."""

    alias: str
    kind: SourceKind
    location: str
    file: str | None = None
    alpha: float | None = None


@dataclass(frozen=True)
class CompositeSource:
    """A composite adapter: the aliases of its adapters, each with a strength of its own or None for the adapter's."""

    alias: str
    components: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True)
class SourceLoras:
    """A parsed ``--source_loras``: adapters and composites, each in their order."""

    adapters: tuple[LoraSource, ...]
    composites: tuple[CompositeSource, ...] = ()

    def __str__(self) -> str:
        """Return a text that parses to an equal object."""
        single = (f"{a.alias}={a.location}{'@' + a.file if a.file else ''}{_written(a.alpha)}" for a in self.adapters)
        composites = (
            f"{c.alias}=" + "+".join(f"@{alias}{_written(alpha)}" for alias, alpha in c.components)
            for c in self.composites
        )
        return ",".join([*single, *composites])


def parse_source_loras(text: str) -> SourceLoras:
    """Parse a ``--source_loras``. Raises GraphError (field ``source_loras``), which names the wrong entry."""
    adapters: list[LoraSource] = []
    composites: list[tuple[_Entry, CompositeSource]] = []
    taken: set[str] = set()
    for number, part in enumerate(text.split(","), 1):
        entry = _Entry(number, part.strip())
        alias, source = _halves(entry, taken)
        taken.add(alias)
        if source.startswith("@"):
            composites.append((entry, CompositeSource(alias, tuple(_components(entry, source)))))
        else:
            adapters.append(_adapter(entry, alias, source))
    for entry, composite in composites:
        _check_references(entry, composite, {a.alias: a for a in adapters}, taken)
    return SourceLoras(tuple(adapters), tuple(composite for _, composite in composites))


def mode_for(devices: Sequence[str]) -> LoraMode:
    """Return how adapters are loaded on a graph's devices: STATIC if the NPU is one of them, else DYNAMIC."""
    return LoraMode.STATIC if uses_npu(devices) else LoraMode.DYNAMIC


@dataclass(frozen=True)
class _Entry:
    """One comma-separated entry and its number from 1, which errors name."""

    number: int
    text: str

    def refuse(self, reason: str) -> NoReturn:
        raise GraphError(f"entry {self.number}, {self.text!r}: {reason}", field=FIELD)


def _halves(entry: _Entry, taken: set[str]) -> tuple[str, str]:
    if not entry.text:
        raise GraphError(f"entry {entry.number} is empty; write alias=source.", field=FIELD)
    if any(ord(character) < 32 or ord(character) == 127 for character in entry.text):
        entry.refuse("it contains a control character.")
    alias, equals, source = (part.strip() for part in entry.text.partition("="))
    if not equals:
        entry.refuse(f"this is not of the form alias=source; {_COMMA_HINT}.")
    try:
        check_alias(alias)
    except ValueError as error:
        entry.refuse(str(error))
    if alias in taken:
        entry.refuse(f"the alias {alias!r} is already used by an earlier entry; choose another.")
    if not source:
        entry.refuse("the source after '=' is missing; write a URL, a path or a Hugging Face org/repo.")
    return alias, source


def _adapter(entry: _Entry, alias: str, source: str) -> LoraSource:
    if _URL.match(source):
        url, alpha = _file_and_alpha(entry, source)
        if problem := url_problem(url):
            entry.refuse(problem)
        return LoraSource(alias, "url", url, alpha=alpha)
    if _LOCAL.match(source):
        path, alpha = _file_and_alpha(entry, source)
        return LoraSource(alias, "local", path, alpha=alpha)
    return _hugging_face(entry, alias, source)


def _hugging_face(entry: _Entry, alias: str, source: str) -> LoraSource:
    repository, at, rest = (part.strip() for part in source.partition("@"))
    file = None
    alpha = None
    if at:
        file, alpha = _file_and_alpha(entry, rest)
        if not is_plain_path(file):
            entry.refuse(f"{file!r} cannot be a file of a repository; write its path within the repository.")
    elif ":" in repository:
        repository, _, number = (part.strip() for part in repository.partition(":"))
        alpha = _alpha(entry, number)
    if not _REPOSITORY.fullmatch(repository):
        hint = "write org/repo, org/repo@file.safetensors, an https:// URL, or a path that starts with / or ./"
        entry.refuse(f"{repository!r} is not a Hugging Face repository; {hint}.")
    return LoraSource(alias, "hugging_face", repository, file, alpha)


def _file_and_alpha(entry: _Entry, text: str) -> tuple[str, float | None]:
    """Split off the alpha. Only a colon after ``.safetensors`` starts one, since paths and URLs contain colons too."""
    if text.lower().endswith(SUFFIX):
        return text, None
    file, _, number = (part.strip() for part in text.rpartition(":"))
    if not file.lower().endswith(SUFFIX):
        entry.refuse(f"{text!r} must end in {SUFFIX} (then, if wanted, a colon and the alpha); {_COMMA_HINT}.")
    return file, _alpha(entry, number)


def _components(entry: _Entry, source: str) -> Iterator[tuple[str, float | None]]:
    seen: set[str] = set()
    for part in _NEXT_COMPONENT.split(source):
        alias, colon, number = (piece.strip() for piece in part.strip().removeprefix("@").partition(":"))
        try:
            check_alias(alias)
        except ValueError:
            entry.refuse(f"{part.strip()!r} is not a component; a composite is written @alias:alpha+@alias:alpha.")
        if alias in seen:
            entry.refuse(f"{alias!r} is twice in this composite.")
        seen.add(alias)
        yield alias, _alpha(entry, number) if colon else None


def _check_references(
    entry: _Entry, composite: CompositeSource, adapters: dict[str, LoraSource], taken: set[str]
) -> None:
    for alias, alpha in composite.components:
        if alias not in adapters and alias in taken:
            entry.refuse(f"{alias!r} is a composite; a composite is made of adapters only.")
        if alias not in adapters:
            entry.refuse(f"there is no adapter {alias!r} ({', '.join(adapters) or 'none is defined'}).")
        own = adapters[alias].alpha
        if None not in (own, alpha) and own != 1.0 and alpha != 1.0:
            entry.refuse(f"the alpha of {alias!r} is written twice: {own} with the adapter, {alpha} here; keep one.")


def _alpha(entry: _Entry, text: str) -> float:
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        entry.refuse(f"{text!r} is not an alpha; write a finite number such as 0.8.")
    return float(text)


def _written(alpha: float | None) -> str:
    return "" if alpha is None else f":{alpha!r}"


def url_file_name(url: str) -> str:
    """Return the name of the file of a URL, with percent-encoding decoded."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def is_plain_path(file: str) -> bool:
    """Return whether a file's path is relative and stays below the folder that it is joined to."""
    return not set(file) & set("\\:\0") and all(part not in ("", ".", "..") for part in file.split("/"))


def url_problem(url: str) -> str | None:
    """Return a sentence why an adapter cannot be downloaded from a URL, None for a usable URL."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        port = parts.port
    except ValueError as error:
        return f"this is not a URL: {error}."
    if not host or port == 0:
        return "the URL names no server."
    if parts.username is not None or parts.password is not None:
        return "a URL cannot carry a user name or password here; download the file and give its path."
    if parts.query or parts.fragment or "?" in url:
        return f"the URL must end in {SUFFIX}; leave out what begins with '?' or '#'."
    name = url_file_name(url)
    if name.lower() == SUFFIX or not is_plain_path(name) or "/" in name:
        return "the URL names no file."
    return None

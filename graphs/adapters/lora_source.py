"""One source of an adapter: how an entry of ``--source_loras`` names it, and how it is written again."""

import math
import re
from dataclasses import dataclass, replace
from typing import Literal, NoReturn
from urllib.parse import quote

from graphs.adapters.addresses import (
    SUFFIX,
    decoded,
    download_address,
    file_address,
    is_address_without_file,
    is_plain_path,
    path_of_file_address,
    repository_of_page,
    scheme_problem,
    url_problem,
    without_secrets,
)
from graphs.errors import GraphError

SourceKind = Literal["hugging_face", "url", "local"]
FIELD = "source_loras"

_DIGITS = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
_NUMBER = re.compile(_DIGITS, re.ASCII)
_URL = re.compile(r"https?://", re.IGNORECASE)
_FILE = re.compile(r"file:/", re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://", re.ASCII)
_SITE = re.compile(r"(www\.)?(huggingface\.co|hf\.co|civitai\.com)/", re.IGNORECASE)
_LOCAL = re.compile(r"/|\./|\.\\|[A-Za-z]:[\\/]")
# The characters that the Hub itself allows in the two halves of a repository's name.
REPOSITORY = re.compile(r"(?!.*(--|\.\.))\w[\w.-]{0,95}(?<![.-])/\w[\w.-]{0,95}(?<![.-])", re.ASCII)
_ALIAS = r"[A-Za-z0-9_.-]+\s*="
NEXT_ENTRY = re.compile(rf",(?=[\s,]*(?:$|{_ALIAS}))", re.ASCII)
# A semicolon in the place of that comma: behind a file's ending it is no part of a name.
SEMICOLON = re.compile(rf"{re.escape(SUFFIX)}(?:\s*:\s*{_DIGITS})?\s*;\s*{_ALIAS}", re.ASCII | re.IGNORECASE)
_ENCODED = re.compile("%[0-9A-Fa-f]{2}")
_ALPHA_OF_QUERY = re.compile(rf"(?P<query>.*):\s*(?P<alpha>{_DIGITS})", re.ASCII | re.DOTALL)
COMMA_HINT = "a comma begins the next entry only where alias= follows it"
SEMICOLON_HINT = "entries are separated by commas, not by ';' (write %3B for one in a URL)"


@dataclass(frozen=True)
class LoraSource:
    """One adapter: ``location`` is the URL, the path or ``org/repo``; ``file`` is the file within the repository."""

    alias: str
    kind: SourceKind
    location: str
    file: str | None = None
    alpha: float | None = None

    def __str__(self) -> str:
        """Return the entry, which parses to an equal object."""
        return f"{self.alias}={self.source}{written_alpha(self.alpha)}"

    @property
    def source(self) -> str:
        """The source as an entry names it, without the alpha."""
        if self.kind == "hugging_face":
            return f"{self.location}@{_written_file(self.file)}" if self.file else self.location
        if self.kind == "local" and _is_ambiguous(self.location):
            return file_address(self.location)
        return self.location


@dataclass(frozen=True)
class SourceEntry:
    """One entry and its number from 1, which errors name."""

    number: int
    text: str

    def refuse(self, reason: str) -> NoReturn:
        """Raise GraphError with the entry, without the passwords and tokens in it, and the reason."""
        raise GraphError(without_secrets(f"entry {self.number}, {self.text!r}: {reason}"), field=FIELD)


def read_source(entry: SourceEntry, alias: str, source: str) -> LoraSource:
    """Return the adapter of an entry, whose halves are given. Raises GraphError, which names the entry."""
    if _URL.match(source):
        return _url(entry, alias, source)
    if _FILE.match(source):
        address, alpha = _file_and_alpha(entry, source)
        try:
            return LoraSource(alias, "local", path_of_file_address(address), alpha=alpha)
        except ValueError as error:
            entry.refuse(str(error))
    if _LOCAL.match(source):
        path, alpha = _file_and_alpha(entry, source)
        return LoraSource(alias, "local", path, alpha=alpha)
    if scheme := _SCHEME.match(source):
        entry.refuse(scheme_problem(scheme[1]))
    return _hugging_face(entry, alias, source)


def _url(entry: SourceEntry, alias: str, source: str) -> LoraSource:
    url, alpha = _url_and_alpha(entry, source)
    if problem := url_problem(url):
        entry.refuse(problem)
    if repository := repository_of_page(url):
        return replace(_hugging_face(entry, alias, repository), alpha=alpha)
    return LoraSource(alias, "url", download_address(url), alpha=alpha)


def _url_and_alpha(entry: SourceEntry, text: str) -> tuple[str, float | None]:
    """Split off the alpha: in a URL with a query, a number after the last colon of the query."""
    start, question, query = text.partition("?")
    if question:
        found = _ALPHA_OF_QUERY.fullmatch(query)
        if found is None:
            return text, None
        query = found["query"].strip()
        if _ALPHA_OF_QUERY.fullmatch(query):  # written alone, this would be read as an alpha
            query = "%3A".join(query.rsplit(":", 1))
        return f"{start}?{query}", read_alpha(entry, found["alpha"])
    if is_address_without_file(text):
        return text, None
    url, colon, number = (part.strip() for part in text.rpartition(":"))
    if colon and is_address_without_file(url):
        return url, read_alpha(entry, number)
    return _file_and_alpha(entry, text)


def _hugging_face(entry: SourceEntry, alias: str, source: str) -> LoraSource:
    repository, at, rest = (part.strip() for part in source.partition("@"))
    file = None
    alpha = None
    if at:
        file, alpha = _file_and_alpha(entry, rest)
        try:
            file = decoded(file)
        except ValueError as error:
            entry.refuse(str(error))
        if not is_plain_path(file):
            entry.refuse(f"{file!r} cannot be a file of a repository; write its path within the repository.")
    elif ":" in repository:
        repository, _, number = (part.strip() for part in repository.partition(":"))
        alpha = read_alpha(entry, number)
    if not REPOSITORY.fullmatch(repository):
        _refuse_repository(entry, repository)
    return LoraSource(alias, "hugging_face", repository, file, alpha)


def _refuse_repository(entry: SourceEntry, repository: str) -> NoReturn:
    if ";" in repository:
        entry.refuse(f"{SEMICOLON_HINT}.")
    if _SITE.match(repository):
        entry.refuse(f"write https:// in front of {repository!r}.")
    hint = "write org/repo, org/repo@file.safetensors, an https:// URL, or a path that starts with / or ./"
    more = f"; {COMMA_HINT}" if "," in repository else ""
    entry.refuse(f"{repository!r} is not a Hugging Face repository; {hint}{more}.")


def _file_and_alpha(entry: SourceEntry, text: str) -> tuple[str, float | None]:
    """Split off the alpha. Only a colon after ``.safetensors`` starts one, since paths and URLs contain colons too."""
    if text.lower().endswith(SUFFIX):
        return text, None
    file, _, number = (part.strip() for part in text.rpartition(":"))
    if not file.lower().endswith(SUFFIX):
        entry.refuse(f"{text!r} must end in {SUFFIX} (then, if wanted, a colon and the alpha); {COMMA_HINT}.")
    return file, read_alpha(entry, number)


def read_alpha(entry: SourceEntry, text: str) -> float:
    """Return the alpha that a text states. Raises GraphError, which names the entry."""
    if ";" in text:
        entry.refuse(f"{SEMICOLON_HINT}.")
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        entry.refuse(f"{text!r} is not an alpha; write a finite number such as 0.8.")
    return float(text)


def written_alpha(alpha: float | None) -> str:
    """Return what follows a source: a colon and its alpha, or nothing."""
    return "" if alpha is None else f":{alpha!r}"


def _is_ambiguous(name: str) -> bool:
    """Return whether a name contains what ends an entry."""
    return bool(NEXT_ENTRY.search(name) or SEMICOLON.search(name))


def _written_file(file: str) -> str:
    """Return a repository's file in the form that reads back as the same name."""
    return quote(file) if _ENCODED.search(file) or file != file.strip() or _is_ambiguous(file) else file

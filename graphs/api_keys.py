"""API keys and the owners of jobs that they identify."""

import hashlib
import hmac
import logging
import re
import stat
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from pathlib import Path

from graphs.errors import ConfigurationError

log = logging.getLogger(__name__)

_RATE = re.compile(r"[1-9][0-9]{0,8}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


class Priority(StrEnum):
    """The priority of a job among the jobs of its owner, highest first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for the highest."""
        return list(Priority).index(self)


@dataclass(frozen=True)
class Owner:
    """The API key, or everyone where no key is needed, that a job belongs to.

    ``id`` identifies the owner and does not reveal the key. ``requests_per_minute`` is the owner's own limit, None for
    the limit of the settings. ``label`` is the name that administrators see, '' where the key has none.
    """

    id: str
    max_priority: Priority = Priority.HIGH
    is_administrator: bool = False
    requests_per_minute: int | None = None
    label: str = ""

    @property
    def shown(self) -> str:
        """The name of the owner for people: its label, else its id."""
        return self.label or self.id

    def capped(self, requested: Priority) -> Priority:
        """Return the requested priority, lowered to the owner's highest where it exceeds that."""
        return requested if requested.rank >= self.max_priority.rank else self.max_priority


ANYONE = Owner("anyone", label="anyone")


@dataclass(frozen=True)
class _Entry:
    digest: bytes
    owner: Owner


class ApiKeys:
    """The API keys of this server. Without any, the server is open and all clients are one owner."""

    def __init__(self, entries: list[_Entry]) -> None:
        self._entries = entries

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        return not self._entries

    def has_owner(self, owner_id: str) -> bool:
        """Return whether there is a key of this owner; without keys, whether it is the one owner of an open server."""
        return owner_id in ({entry.owner.id for entry in self._entries} or {ANYONE.id})

    def labelled(self, name: str) -> Owner | None:
        """Return the owner with this label or id, None for an unknown one."""
        owners = [entry.owner for entry in self._entries] or [ANYONE]
        return next((owner for owner in owners if name in (owner.label, owner.id)), None) if name else None

    def shown(self, owner_id: str) -> str:
        """Return the name of an owner for people: the label of its key, else its id."""
        owner = self.labelled(owner_id)
        return owner.shown if owner else owner_id

    def owner_of(self, key: str) -> Owner | None:
        """Return the owner of a key, None for an unknown key.

        All keys are compared, in constant time, so that the duration reveals nothing about the right keys.
        """
        digest = _digest(key)
        found: Owner | None = None
        for entry in self._entries:
            if hmac.compare_digest(entry.digest, digest):
                found = entry.owner
        return found


class ApiKeySource:
    """The API keys of the settings; those of a file are read again when the file has changed."""

    def __init__(self, path: Path | None, single: str | None = None) -> None:
        """As for ``read_keys``. Raises ConfigurationError."""
        self._path = path
        self._stamp = _stamp(path)
        self._keys = read_keys(path, single)
        _warn_of_other_readers(path)

    def current(self) -> ApiKeys:
        """Return the keys of now. While a changed file cannot be used, the keys before it stay, and the log says so."""
        stamp = _stamp(self._path)
        if self._path is not None and stamp != self._stamp:
            self._stamp = stamp
            try:
                self._keys = read_keys(self._path)
                _warn_of_other_readers(self._path)
                log.info("the API key file %s has changed and is read again", self._path)
            except ConfigurationError as error:
                log.error("the API keys stay as they are: %s", error)
        return self._keys


def other_readers(path: Path | None) -> str | None:
    """Return the sentence for a key file that every user of this machine can read or change; None for any other."""
    try:
        mode = path.stat().st_mode if path else 0
    except OSError:
        return None
    if not mode & (stat.S_IROTH | stat.S_IWOTH):
        return None
    return f"Every user of this machine can {'change' if mode & stat.S_IWOTH else 'read'} the keys in {path}."


def _warn_of_other_readers(path: Path | None) -> None:
    if sentence := other_readers(path):
        log.warning("%s Run `chmod 600 %s`.", sentence, path)


def _stamp(path: Path | None) -> tuple[int, ...] | None:
    """Return what changes with a file's content, None for no file."""
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns) if found else None


def read_keys(path: Path | None, single: str | None = None) -> ApiKeys:
    """Read an API key file: one key a line, optionally followed by ``max_priority=normal`` or ``low``,
    ``requests_per_minute=N``, ``label=NAME`` and ``admin``.

    ``single`` is a key from the settings, used if there is no file. Blank lines, lines that begin with # and
    what follows a key behind a # are ignored. The first key of a file and a single key are administrators. Raises
    ConfigurationError.
    """
    if path is None:
        return ApiKeys([_entry(single, [], "the API key", first=True)] if single else [])
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The API key file {path} cannot be read: {error}.") from error
    entries: list[_Entry] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words and not words[0].startswith("#"):
            where = f"{path}:{number}"
            entry = _entry(words[0], _before_comment(words[1:]), where, first=not entries)
            label = entry.owner.label
            if label and any(label == other.owner.label for other in entries):
                raise ConfigurationError(f"{where}: label={label} stands at another key too; each key has its own.")
            entries.append(entry)
    if not entries:
        raise ConfigurationError(f"The API key file {path} holds no key.")
    return ApiKeys(entries)


def _before_comment(words: list[str]) -> list[str]:
    """Return the words before one that begins with #. A key itself may hold one."""
    return list(takewhile(lambda word: not word.startswith("#"), words))


def _entry(key: str, words: list[str], where: str, *, first: bool) -> _Entry:
    highest = Priority.HIGH
    administrator = first
    rate = None
    label = ""
    for word in words:
        name, _, value = word.partition("=")
        if name == "max_priority" and value in list(Priority):
            highest = Priority(value)
        elif name == "requests_per_minute" and _RATE.fullmatch(value):
            rate = int(value)
        elif name == "label" and _LABEL.fullmatch(value):
            label = value
        elif word == "admin":
            administrator = True
        else:
            raise ConfigurationError(
                f"{where}: {word!r} is neither admin nor max_priority=high, normal or low, nor requests_per_minute=N, "
                "nor label=NAME (letters, digits, - _ and dots)."
            )
    digest = _digest(key)
    return _Entry(digest, Owner(digest.hex()[:16], highest, administrator, rate, label))


def _digest(key: str) -> bytes:
    """Return the SHA-256 of a key. Keys are long and random, so one round is enough; all digests have one length."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()

"""What a check has found."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a finding is meant: all is well, good to know, or to be mended."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """A sentence about one thing, and what to do about it where something is to be done."""

    area: str
    verdict: Verdict
    message: str
    remedy: str = ""


def ok(area: str, message: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(area, Verdict.OK, message)


def note(area: str, message: str, remedy: str = "") -> Finding:
    """Return a finding that is good to know."""
    return Finding(area, Verdict.NOTE, message, remedy)


def wrong(area: str, message: str, remedy: str) -> Finding:
    """Return a finding that is to be mended."""
    return Finding(area, Verdict.WRONG, message, remedy)

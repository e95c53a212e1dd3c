"""The result of a check."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """The kind of a finding: nothing is wrong, worth knowing, or something must be changed."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """A sentence about one area, with a remedy if something can be done."""

    area: str
    verdict: Verdict
    message: str
    remedy: str = ""


def ok(area: str, message: str) -> Finding:
    """Return the finding that nothing is wrong."""
    return Finding(area, Verdict.OK, message)


def note(area: str, message: str, remedy: str = "") -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(area, Verdict.NOTE, message, remedy)


def wrong(area: str, message: str, remedy: str) -> Finding:
    """Return a finding about something that must be changed."""
    return Finding(area, Verdict.WRONG, message, remedy)

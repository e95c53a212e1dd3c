"""The Prefer header (RFC 7240): whether a client waits for its picture."""

import re
from dataclasses import dataclass

_WAIT = re.compile(r"wait=(\d{1,6})", re.ASCII)


@dataclass(frozen=True)
class Preference:
    """``wait_s`` seconds to wait, None for as long as it takes, 0 for not at all."""

    wait_s: float | None = None


def read_preference(header: str | None) -> Preference:
    """Read ``respond-async`` and ``wait=N`` out of a Prefer header; anything else is ignored, as the RFC says."""
    parts = [part.strip().lower() for part in (header or "").split(",")]
    for part in parts:
        if match := _WAIT.fullmatch(part):
            return Preference(float(match[1]))
    return Preference(0.0 if "respond-async" in parts else None)

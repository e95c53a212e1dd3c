"""What a request's headers say about waiting, repeating and giving up."""

import hashlib
import re
from dataclasses import dataclass

from starlette.requests import Request

from api.request.preferences import read_preference
from graphs.errors import InvalidRequest
from workers.jobs.store import Idempotency

_KEY_TTL_S = 24 * 3600
_RETRY_TTL_S = 3600
# Between two attempts the SDKs wait at most 8 s.
RETRY_PAUSE_S = 10.0
_DURATION = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,3})?)\s*(?P<unit>ms|s|m|h)?", re.ASCII)
_UNITS_S = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Wishes:
    """``wait_s``: how long the client waits for its picture, None as long as it takes, 0 not at all.

    ``cancel_after_s``: when the job is to be given up, running or not. ``patience_s``: when the client itself gives up
    waiting. ``retry``: the how-manieth attempt of an SDK this is, None for other clients.
    """

    wait_s: float | None = None
    idempotency_key: str | None = None
    cancel_after_s: float | None = None
    patience_s: float | None = None
    retry: int | None = None

    def once(self, digest: str) -> Idempotency:
        """Return what makes this request, of which ``digest`` is the digest, the same as an earlier one."""
        if self.idempotency_key is not None:
            key = hashlib.sha256(self.idempotency_key.encode("utf-8", "surrogateescape")).hexdigest()
            return Idempotency(f"key:{key}", digest, _KEY_TTL_S, "always")
        if self.retry is not None and self.wait_s is None:
            return Idempotency(f"retry:{digest}", digest, _RETRY_TTL_S, "live" if self.retry > 0 else "never")
        return Idempotency(digest=digest)


def read_wishes(request: Request) -> Wishes:
    """Read Prefer, Idempotency-Key, Cancel-After and what the OpenAI SDKs say about themselves.

    Raises InvalidRequest for a Cancel-After that is no duration, or an Idempotency-Key that is too long.
    """
    headers = request.headers
    key = headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= 256:
        raise InvalidRequest("Idempotency-Key must have 1 to 256 characters.", param="Idempotency-Key")
    return Wishes(
        wait_s=read_preference(", ".join(headers.getlist("prefer"))).wait_s,
        idempotency_key=key,
        cancel_after_s=_duration(headers.get("cancel-after")),
        patience_s=_number(headers.get("x-stainless-read-timeout") or headers.get("x-stainless-timeout")),
        retry=_retry(headers.get("x-stainless-retry-count")),
    )


def _duration(text: str | None) -> float | None:
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidRequest("Cancel-After must be a duration such as 30s, 500ms or 2m.", param="Cancel-After")
    return float(match["number"]) * _UNITS_S[match["unit"]]


def _number(text: str | None) -> float | None:
    """A positive number; a client may send anything, such as None or inf, and means no limit then."""
    match = re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text or "", re.ASCII)
    return float(match[0]) if match and float(match[0]) > 0 else None


def _retry(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,4}", text, re.ASCII) else None

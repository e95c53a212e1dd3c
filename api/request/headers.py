"""The headers of an image request: how long the client waits, what makes two requests the same, when to cancel."""

import hashlib
import re
from dataclasses import dataclass

from starlette.requests import Request

from graphs.errors import InvalidRequest
from workers.jobs.store import Idempotency

_KEY_TTL_S = 24 * 3600
_RETRY_TTL_S = 3600
# Between two attempts the SDKs wait at most 8 s.
RETRY_PAUSE_S = 10.0
_WAIT = re.compile(r"wait=(\d{1,6})", re.ASCII)
_DURATION = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,3})?)\s*(?P<unit>ms|s|m|h)?", re.ASCII)
_UNITS_S = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class RequestHeaders:
    """What the headers of an image request say.

    ``wait_s``: how many seconds the client waits for its images; None: until they are there, 0: not at all.
    ``cancel_after_s``: after how many seconds the job is cancelled, whether it is queued or running.
    ``timeout_s``: after how many seconds the client itself stops waiting, None where it does not say so.
    ``retry``: the number of this attempt as an OpenAI SDK counts it, from 0; None for other clients.
    """

    wait_s: float | None = None
    idempotency_key: str | None = None
    cancel_after_s: float | None = None
    timeout_s: float | None = None
    retry: int | None = None

    def idempotency(self, digest: str) -> Idempotency:
        """Return what makes this request the same as an earlier one. ``digest`` is that of its body."""
        if self.idempotency_key is not None:
            key = hashlib.sha256(self.idempotency_key.encode("utf-8", "surrogateescape")).hexdigest()
            return Idempotency(f"key:{key}", digest, _KEY_TTL_S, "always")
        if self.retry is not None and self.wait_s is None:
            return Idempotency(f"retry:{digest}", digest, _RETRY_TTL_S, "live" if self.retry > 0 else "never")
        return Idempotency(digest=digest)


def read_headers(request: Request) -> RequestHeaders:
    """Read Prefer, Idempotency-Key, Cancel-After and the headers with which the OpenAI SDKs describe themselves.

    Raises InvalidRequest for a Cancel-After that is not a duration, or an Idempotency-Key that is too long.
    """
    headers = request.headers
    key = headers.get("idempotency-key") or None
    if key is not None and len(key) > 256:
        raise InvalidRequest("Idempotency-Key must have at most 256 characters.", param="Idempotency-Key")
    return RequestHeaders(
        wait_s=_preferred_wait_s(", ".join(headers.getlist("prefer"))),
        idempotency_key=key,
        cancel_after_s=_duration_s(headers.get("cancel-after")),
        timeout_s=_positive_number(headers.get("x-stainless-read-timeout") or headers.get("x-stainless-timeout")),
        retry=_retry(headers.get("x-stainless-retry-count")),
    )


def _preferred_wait_s(header: str) -> float | None:
    """Read ``respond-async`` (0) and ``wait=N`` out of Prefer. Anything else is ignored, as RFC 7240 requires."""
    parts = [part.strip().lower() for part in header.split(",")]
    for part in parts:
        if match := _WAIT.fullmatch(part):
            return float(match[1])
    return 0.0 if "respond-async" in parts else None


def _duration_s(text: str | None) -> float | None:
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidRequest("Cancel-After must be a duration such as 30s, 500ms or 2m.", param="Cancel-After")
    return float(match["number"]) * _UNITS_S[match["unit"]]


def _positive_number(text: str | None) -> float | None:
    """Read a positive number. SDKs also send None or inf, which mean that there is no limit."""
    match = re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text or "", re.ASCII)
    return float(match[0]) if match and float(match[0]) > 0 else None


def _retry(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,4}", text, re.ASCII) else None

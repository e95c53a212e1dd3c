"""The headers of an image request: how long the client waits, what makes two requests the same, when to cancel."""

import hashlib
import re
from dataclasses import dataclass

from starlette.requests import Request

from config.http_settings import HttpSettings
from graphs.errors import InvalidRequest
from workers.jobs.store import Idempotency

_KEY_TTL_S = 24 * 3600
_RETRY_TTL_S = 3600
# Between two attempts the SDKs wait at most 8 s.
RETRY_PAUSE_S = 10.0
# A client that leaves after so much of its time-out has not left for another reason.
_SHARE_OF_TIMEOUT = 0.9
_SHARE_OF_NODE_TIMEOUT = 250 / 300
_LESS_THAN_ONE_S = 0.5
_WHITE_SPACE = re.compile(r"(?:^|[,\s])white-space=([1-9]\d{0,3})(?=$|[,;\s])", re.ASCII)
_WAIT = re.compile(r"wait=(\d{1,6})", re.ASCII)
_DURATION = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,3})?)\s*(?P<unit>ms|s|m|h)?", re.ASCII)
_UNITS_S = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class RequestHeaders:
    """What the headers of an image request say.

    ``wait_s``: how many seconds the client waits for its images; None: until they are there, 0: not at all.
    ``cancel_after_s``: after how many seconds the job is cancelled, whether it is queued or running.
    ``timeout_s``: after how many seconds the client itself stops waiting, None where it does not say so.
    ``times_out_from_s``: a client that leaves after so many seconds has timed out, and sends the request again; None
    where that is not known.
    ``white_space_s``: how often a client that waits wants a space before its answer, in seconds.
    ``retry``: the number of this attempt as an OpenAI SDK counts it, from 0; None for other clients.
    """

    wait_s: float | None = None
    idempotency_key: str | None = None
    cancel_after_s: float | None = None
    timeout_s: float | None = None
    times_out_from_s: float | None = None
    white_space_s: float | None = None
    retry: int | None = None

    def idempotency(self, digest: str) -> Idempotency:
        """Return what makes this request the same as an earlier one. ``digest`` is that of its body."""
        if self.idempotency_key is not None:
            key = hashlib.sha256(self.idempotency_key.encode("utf-8", "surrogateescape")).hexdigest()
            return Idempotency(f"key:{key}", digest, _KEY_TTL_S, "always")
        if self.retry is not None and self.wait_s is None:
            return Idempotency(f"retry:{digest}", digest, _RETRY_TTL_S, "live" if self.retry > 0 else "never")
        return Idempotency(digest=digest)


def read_headers(request: Request, http: HttpSettings) -> RequestHeaders:
    """Read Prefer, Idempotency-Key, Cancel-After and the headers with which the OpenAI SDKs describe themselves.

    Raises InvalidRequest for a Cancel-After that is not a duration, or an Idempotency-Key that is too long.
    """
    headers = request.headers
    key = headers.get("idempotency-key") or None
    if key is not None and len(key) > 256:
        raise InvalidRequest("Idempotency-Key must have at most 256 characters.", param="Idempotency-Key")
    preferences = ", ".join(headers.getlist("prefer"))
    timeout_s = _timeout_s(headers.get("x-stainless-read-timeout") or headers.get("x-stainless-timeout"))
    return RequestHeaders(
        wait_s=_preferred_wait_s(preferences),
        idempotency_key=key,
        cancel_after_s=_duration_s(headers.get("cancel-after")),
        timeout_s=timeout_s,
        times_out_from_s=_times_out_from_s(timeout_s, headers.get("x-stainless-lang"), http),
        white_space_s=_white_space_s(preferences) or http.white_space_s,
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


def _timeout_s(text: str | None) -> float | None:
    """Read a time-out in seconds. SDKs also send None or inf, which mean that there is none.

    openai-node rounds down to whole seconds, so 0 is less than one.
    """
    match = re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text or "", re.ASCII)
    return None if match is None else float(match[0]) or _LESS_THAN_ONE_S


def _times_out_from_s(timeout_s: float | None, language: str | None, http: HttpSettings) -> float | None:
    """Return from when on a client that leaves has timed out.

    openai-node states no time-out of its own, but Node's fetch ends a request that is not answered after 300 s (undici,
    headersTimeout), and the client then sends it again.
    """
    if timeout_s is not None:
        return _SHARE_OF_TIMEOUT * timeout_s
    return _SHARE_OF_NODE_TIMEOUT * http.node_timeout_s if language == "js" else None


def _white_space_s(preferences: str) -> float | None:
    match = _WHITE_SPACE.search(preferences.lower())
    return None if match is None else float(match[1])


def _retry(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,4}", text, re.ASCII) else None

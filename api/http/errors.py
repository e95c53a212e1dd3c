"""The only place where an error becomes an HTTP answer, with OpenAI's error object as its body.

``error_response`` makes every error answer, those of the middleware too, and counts it in
``imagegen_http_errors_total``. The error event of a stream takes its body from ``error_body``; a stream has begun with
status 200 by then, so it is not counted.
"""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from api.answer.schemas import ErrorBody
from api.http.wrong_keys import TooManyWrongKeys
from api.request.validation import invalid_request
from api.service import NOT_READY
from graphs import errors

log = logging.getLogger(__name__)


class RouteNotFound(errors.ImagegenError):
    """There is no such route; see /docs for those that exist."""

    code = "not_found"


class MethodNotAllowed(errors.ImagegenError):
    """This route does not take that method; see /docs."""

    code = "method_not_allowed"


class HeadersTooLarge(errors.ImagegenError):
    """The request line and headers are larger, or more, than this server accepts."""

    code = "headers_too_large"


class HeadersTooSlow(errors.ImagegenError):
    """The headers did not come in the time this server waits for them."""

    code = "headers_too_slow"


class HostNotAllowed(errors.ImagegenError):
    """This server has no keys and does not answer under this Host; name it with --allowed_hosts, or set keys."""

    code = "host_not_allowed"


class OriginNotAllowed(errors.ImagegenError):
    """Pages of this origin may not change anything here; allow the origin with --allowed_origins."""

    code = "origin_not_allowed"


class TooManyConnections(errors.ServiceUnavailable):
    """Too many connections are open; try again."""

    code = "too_many_connections"


class TooManyBodies(errors.ServiceUnavailable):
    """Too many bodies are being received; try again."""

    code = "too_many_bodies"


class ReloadFailed(errors.ImagegenError):
    """What is on disk cannot be served; what was served before still is."""

    code = "reload_failed"


class HttpRefusal(errors.ImagegenError):
    """Starlette refused the request, such as a form that it cannot parse. It brings its own status, and no code."""

    code = "http_refusal"
    status = 400


class UnexpectedError(errors.ImagegenError):
    """The server failed unexpectedly."""


# Looked up along the MRO: the most specific class wins.
STATUS: dict[type[errors.ImagegenError], int] = {
    errors.InvalidRequest: 400,
    errors.AuthenticationFailed: 401,
    TooManyWrongKeys: 429,
    errors.NotAllowed: 403,
    HostNotAllowed: 403,
    OriginNotAllowed: 403,
    RouteNotFound: 404,
    errors.ModelNotFound: 404,
    MethodNotAllowed: 405,
    errors.JobNotFound: 404,
    errors.JobNotWaiting: 409,
    errors.ArtifactExpired: 410,
    errors.RequestTooLarge: 413,
    errors.RequestTooSlow: 408,
    HeadersTooSlow: 408,
    HeadersTooLarge: 431,
    ReloadFailed: 412,
    errors.MediaTypeNotAccepted: 415,
    errors.IdempotencyConflict: 422,
    errors.QueueFull: 429,
    errors.RateLimited: 429,
    errors.JobFailed: 500,
    errors.EngineError: 500,
    errors.ConfigurationError: 500,
    errors.ServiceUnavailable: 503,
    errors.ImagegenError: 500,
}

# Texts of the client that an answer repeats are cut to so many characters.
_LONGEST_MESSAGE = 1000
_LONGEST_PARAM = 200


def status_of(error: errors.ImagegenError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, HttpRefusal):
        return error.status
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def error_body(error: errors.ImagegenError) -> dict[str, Any]:
    """Return OpenAI's error object, all four keys. Long texts are cut, and lone surrogates are escaped.

    A reload answers as OpenVINO Model Server does, whose errors are a sentence.
    """
    if isinstance(error, ReloadFailed):
        return {"error": _shown(error.message, _LONGEST_MESSAGE)}
    status = status_of(error)
    kind = {429: "rate_limit_error"}.get(status, "server_error" if status >= 500 else "invalid_request_error")
    param = None if error.param is None else _shown(error.param, _LONGEST_PARAM)
    message = _shown(error.message, _LONGEST_MESSAGE)
    return {"error": {"message": message, "type": kind, "param": param, "code": error.code or None}}


def error_response(error: errors.ImagegenError, scope: Scope) -> JSONResponse:
    """Return the answer of a request (``scope``: its ASGI scope) that ended with this error, and count it."""
    status = status_of(error)
    # Do not log failing readiness probes and refusals of a shutdown; the middleware logs an unexpected error itself.
    is_expected = error.code in (NOT_READY, errors.ShuttingDown.code) or isinstance(error, UnexpectedError)
    if status >= 500 and not is_expected:
        log.warning("answering %d: %s", status, error)
    scope["app"].state.http_metrics.errors.labels(error.code or "none").inc()
    return JSONResponse(error_body(error), status, _headers(error, status))


def _headers(error: errors.ImagegenError, status: int) -> dict[str, str]:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, errors.RequestTooSlow | HeadersTooLarge | TooManyWrongKeys):
        # Else the client may go on sending the rest of its body, or the next key.
        headers["Connection"] = "close"
    elif isinstance(error, errors.JobFailed):
        # The job has used up its attempts; the same request would only fail again.
        headers["x-should-retry"] = "false"
    return headers


def _shown(text: str, longest: int) -> str:
    shown = text[:longest].encode(errors="backslashreplace").decode()
    return shown if len(text) <= longest else f"{shown}..."


def documented(*kinds: type[errors.ImagegenError]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI documentation of the answers with these errors, by status."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in (*kinds, TooManyWrongKeys) if errors.AuthenticationFailed in kinds else kinds:
        sentence = (kind.__doc__ or "").splitlines()[0]
        found = by_status.setdefault(STATUS[kind], {"model": ErrorBody, "description": sentence})
        if sentence not in found["description"]:
            found["description"] += f" {sentence}"
    return by_status


def install_error_handlers(app: FastAPI) -> None:
    """Make the application answer every error in OpenAI's form."""
    app.add_exception_handler(errors.ImagegenError, _on_imagegen_error)
    app.add_exception_handler(ValidationError, _on_validation_error)
    app.add_exception_handler(RequestValidationError, _on_request_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_imagegen_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.ImagegenError)  # noqa: S101 - what the handler is registered for
    return error_response(error, request.scope)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ValidationError)  # noqa: S101 - what the handler is registered for
    return error_response(invalid_request(error), request.scope)


async def _on_request_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what the handler is registered for
    problem = error.errors()[0]
    param = str(problem["loc"][-1])
    return error_response(errors.InvalidRequest(f"{param}: {problem['msg']}.", param=param), request.scope)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - what the handler is registered for
    response = error_response(_from_starlette(error), request.scope)
    response.headers.update(error.headers or {})
    return response


def _from_starlette(error: HTTPException) -> errors.ImagegenError:
    if error.status_code == 404:
        return RouteNotFound()
    if error.status_code == 405:
        return MethodNotAllowed()
    refusal = HttpRefusal(str(error.detail))
    refusal.status = error.status_code
    refusal.code = ""
    return refusal

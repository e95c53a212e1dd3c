"""The only place where an error becomes an HTTP answer: OpenAI's error object, always."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from api.request.schemas import ErrorBody
from api.request.validation import invalid_request
from graphs import errors

log = logging.getLogger(__name__)

# The nearest class up an error's family decides.
STATUS: dict[type[errors.ImagegenError], int] = {
    errors.InvalidRequest: 400,
    errors.AuthenticationFailed: 401,
    errors.NotAllowed: 403,
    errors.ModelNotFound: 404,
    errors.JobNotFound: 404,
    errors.ArtifactExpired: 410,
    errors.RequestTooLarge: 413,
    errors.RequestTooSlow: 408,
    errors.IdempotencyConflict: 422,
    errors.QueueFull: 429,
    errors.RateLimited: 429,
    errors.JobFailed: 500,
    errors.EngineError: 500,
    errors.ConfigurationError: 500,
    errors.ServiceUnavailable: 503,
    errors.ImagegenError: 500,
}

# What an answer repeats of a request is bounded.
_LONGEST_MESSAGE, _LONGEST_PARAM = 1000, 200
NOT_READY = "not_ready"
_HTTP_MESSAGES = {
    404: "There is no such route; see /docs for those that exist.",
    405: "This route does not take that method; see /docs.",
}


def status_of(error: errors.ImagegenError) -> int:
    """Return the HTTP status of an error."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def error_body(message: str, *, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Return OpenAI's error object, all four keys. Long texts are cut, and what is no Unicode is escaped."""
    kind = {429: "rate_limit_error"}.get(status, "server_error" if status >= 500 else "invalid_request_error")
    param = None if param is None else _shown(param, _LONGEST_PARAM)
    return {"error": {"message": _shown(message, _LONGEST_MESSAGE), "type": kind, "param": param, "code": code}}


def _shown(text: str, longest: int) -> str:
    shown = text[:longest].encode(errors="backslashreplace").decode()
    return shown if len(text) <= longest else f"{shown}..."


def documented(*kinds: type[errors.ImagegenError]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI documentation of answers with these errors."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
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
    status = status_of(error)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if isinstance(error, errors.QueueFull | errors.RateLimited | errors.ServiceUnavailable):
        headers["Retry-After"] = str(error.retry_after_s)
    elif isinstance(error, errors.RequestTooSlow):
        headers["Connection"] = "close"  # else the rest of the body may go on dripping in
    elif isinstance(error, errors.JobFailed):
        # The job was tried as often as it makes sense; the same request would only fail again.
        headers["x-should-retry"] = "false"
    # A probe that asks again and again is no news, nor is a server that ends.
    if status >= 500 and error.code not in (NOT_READY, errors.ShuttingDown.code):
        log.warning("answering %d: %s", status, error.message)
    request.app.state.http_metrics.errors.labels(error.code).inc()
    body = error_body(error.message, status=status, param=error.param, code=error.code)
    return JSONResponse(body, status, headers)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ValidationError)  # noqa: S101 - what the handler is registered for
    return await _on_imagegen_error(request, invalid_request(error))


async def _on_request_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what the handler is registered for
    problem = error.errors()[0]
    param = str(problem["loc"][-1])
    return await _on_imagegen_error(request, errors.InvalidRequest(f"{param}: {problem['msg']}.", param=param))


async def _on_http_exception(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - what the handler is registered for
    message = _HTTP_MESSAGES.get(error.status_code, str(error.detail))
    code = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}.get(error.status_code)
    return JSONResponse(
        error_body(message, status=error.status_code, code=code), error.status_code, dict(error.headers or {})
    )

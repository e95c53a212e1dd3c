"""Turns a validation error of pydantic into one sentence that names the parameter."""

import difflib

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from graphs.errors import InvalidRequest

# An unknown name is the client's text, and may have millions of characters.
_LONGEST_NAME = 100
# What a generation does not take, though other routes do.
_ELSEWHERE = {
    name: " Images to edit go to images/edits." for name in ("image", "images", "image[]", "images[]", "mask")
}


def invalid_request(error: ValidationError, known: list[str] | None = None) -> InvalidRequest:
    """Return the first problem as an InvalidRequest. An unknown name is compared with the ``known`` ones for a hint."""
    problem = error.errors(include_url=False)[0]
    param = ".".join(str(part)[:_LONGEST_NAME] for part in problem["loc"]) or None
    if problem["type"] == "extra_forbidden":
        return unknown_parameter(param or "", known or [])
    if problem["type"] == "missing":
        return InvalidRequest(f"{param} is required.", param=param, code="missing_required_parameter")
    if problem["type"] == "json_invalid":
        return InvalidRequest(f"The body is not JSON: {problem['msg']}.", code="invalid_json")
    return InvalidRequest(_sentence(param, problem), param=param)


def unknown_parameter(name: str, known: list[str]) -> InvalidRequest:
    """Return the error for a field that no body of this route has; the ``known`` ones give a hint."""
    name = name[:_LONGEST_NAME]
    return InvalidRequest(_unknown(name, known), param=name, code="unknown_parameter")


def _unknown(name: str, known: list[str]) -> str:
    if name in known:  # an image, in the extra_body of a form
        return f"{name}: send it as a file of the form."
    if name in _ELSEWHERE and "image" not in known:
        return f"Unknown parameter: {name!r}.{_ELSEWHERE[name]}"
    containing = [other for other in known if len(name) > 3 and name in other]
    near = containing or difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else " See /docs for the parameters."
    return f"Unknown parameter: {name!r}.{hint}"


def _sentence(param: str | None, problem: ErrorDetails) -> str:
    if param is None:
        return "The body must be a JSON object, sent with Content-Type: application/json."
    message = problem["msg"].removeprefix("Value error, ")
    return f"{param}: {message}."

"""The parts of the OpenAPI document that FastAPI does not know, since the routes read bodies and headers themselves."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from api.answer.responses import CONTENT_TYPES

_REFERENCE = "#/components/schemas/{model}"
_BINARY = {"type": "string", "format": "binary"}
_NULL = {"type": "null"}
_ERROR_REFERENCE = "#/components/schemas/ErrorBody"
_UNUSED_SCHEMAS = ("HTTPValidationError", "ValidationError")
_TEXT = {"type": "string"}
_EVENT = {"type": "object", "properties": {"event": _TEXT, "data": _TEXT}}

EVENT_STREAM: dict[str, Any] = {"text/event-stream": {"schema": _EVENT}}
IMAGES: dict[str, Any] = {kind: {"schema": _BINARY} for kind in CONTENT_TYPES.values()}
# For routes that need no key.
OPEN: dict[str, Any] = {"security": []}

_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
}
_HEADERS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("Prefer", "respond-async for the job at once, wait=N for it after at most N seconds.", {}),
    ("Idempotency-Key", "The same key is the same job, for a day.", {"maxLength": 256}),
    ("Cancel-After", "When to give the job up, such as 30s, 500ms or 2m.", {"examples": ["30s"]}),
)


def body_docs(schemas: dict[str, dict[str, Any]], *, headers: bool = False) -> dict[str, Any]:
    """Return the documentation of a body, by content type, and of the ``headers`` of image requests."""
    content = {kind: {"schema": schema} for kind, schema in schemas.items()}
    documented = [
        {"name": name, "in": "header", "description": description, "schema": {"type": "string", **limits}}
        for name, description, limits in (_HEADERS if headers else ())
    ]
    return {"requestBody": {"required": True, "content": content}, "parameters": documented}


def json_schema(model: type[BaseModel], *required: str) -> dict[str, Any]:
    """Return a body's schema, with these fields ``required`` in addition and not null."""
    schema = model.model_json_schema(ref_template=_REFERENCE)
    schema["properties"] |= {name: _without_null(schema["properties"][name]) for name in required}
    return {**schema, "required": [*schema.get("required", ()), *required]}


def form_schema(model: type[BaseModel], *required: str) -> dict[str, Any]:
    """Return the schema of a form with images and a body's fields, of which none is null: a form leaves it out."""
    schema = json_schema(model)
    fields = {name: _without_null(field) for name, field in schema["properties"].items()}
    return {**schema, "properties": {"image": _BINARY, "mask": _BINARY, **fields}, "required": list(required)}


def describe(app: FastAPI) -> None:
    """Complete the application's OpenAPI document."""
    made_by_fastapi = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(made_by_fastapi())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation has it


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    document = _without_definitions(document, found)
    components = document["components"]
    components["schemas"] |= found
    components["securitySchemes"] = _KEYS
    # The server's settings decide whether a key is needed; either header is accepted.
    document["security"] = [{}, *({name: []} for name in _KEYS)]
    for routes in document["paths"].values():
        for operation in routes.values():
            _drop_422(operation["responses"])
    for name in _UNUSED_SCHEMAS:
        components["schemas"].pop(name, None)
    return document


def _without_definitions(node: Any, found: dict[str, Any]) -> Any:
    """Copy a document without its inner ``$defs``, which are added to ``found``: references name the components."""
    if isinstance(node, list):
        return [_without_definitions(item, found) for item in node]
    if not isinstance(node, dict):
        return node
    found |= node.get("$defs", {})
    return {key: _without_definitions(value, found) for key, value in node.items() if key != "$defs"}


def _drop_422(responses: dict[str, Any]) -> None:
    """Drop FastAPI's own answer to bad parameters; this API answers them with 400."""
    schema = responses.get("422", {}).get("content", {}).get("application/json", {}).get("schema")
    if schema is not None and schema != {"$ref": _ERROR_REFERENCE}:
        del responses["422"]


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in field.get("anyOf", ()) if kind != _NULL]
    rest = {key: value for key, value in field.items() if key != "anyOf" and (key, value) != ("default", None)}
    if not kinds:
        return rest
    return {**rest, **kinds[0]} if len(kinds) == 1 else {**rest, "anyOf": kinds}

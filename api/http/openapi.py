"""The OpenAPI document: what FastAPI cannot tell, since our routes read their bodies and headers themselves."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

_REFERENCE = "#/components/schemas/{model}"
_PICTURE = {"type": "string", "format": "binary"}
_NOTHING = {"type": "null"}
_OURS, _FASTAPIS = "#/components/schemas/ErrorBody", ("HTTPValidationError", "ValidationError")
_TEXT = {"type": "string"}
_EVENT = {"type": "object", "properties": {"event": _TEXT, "data": _TEXT}}

EVENT_STREAM: dict[str, Any] = {"text/event-stream": {"schema": _EVENT}}
PICTURES: dict[str, Any] = {kind: {"schema": _PICTURE} for kind in ("image/png", "image/jpeg", "image/webp")}
# For routes that need no key.
OPEN: dict[str, Any] = {"security": []}

_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
}
_WISHES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("Prefer", "respond-async for the job at once, wait=N for it after at most N seconds.", {}),
    ("Idempotency-Key", "The same key is the same job, for a day.", {"minLength": 1, "maxLength": 256}),
    ("Cancel-After", "When to give the job up, such as 30s, 500ms or 2m.", {"examples": ["30s"]}),
)


def body_docs(schemas: dict[str, dict[str, Any]], *, wishes: bool = False) -> dict[str, Any]:
    """Return the documentation of a body, by content type, and of the headers that say what a client ``wishes``."""
    content = {kind: {"schema": schema} for kind, schema in schemas.items()}
    headers = [
        {"name": name, "in": "header", "description": says, "schema": {"type": "string", **limits}}
        for name, says, limits in (_WISHES if wishes else ())
    ]
    return {"requestBody": {"required": True, "content": content}, "parameters": headers}


def json_schema(model: type[BaseModel], *required: str) -> dict[str, Any]:
    """Return a body's schema; what is ``required`` in addition must not be null either."""
    schema = model.model_json_schema(ref_template=_REFERENCE)
    schema["properties"] |= {name: _without_null(schema["properties"][name]) for name in required}
    return {**schema, "required": [*schema.get("required", ()), *required]}


def form_schema(model: type[BaseModel], *required: str) -> dict[str, Any]:
    """Return the schema of a form with pictures and a body's fields: what is not given is left out, never null."""
    schema = json_schema(model)
    fields = {name: _without_null(field) for name, field in schema["properties"].items()}
    return {**schema, "properties": {"image": _PICTURE, "mask": _PICTURE, **fields}, "required": list(required)}


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
    # Which of them, or none, is for the server's settings to say.
    document["security"] = [{}, *({name: []} for name in _KEYS)]
    for routes in document["paths"].values():
        for operation in routes.values():
            _drop_fastapis_422(operation["responses"])
    for name in _FASTAPIS:
        components["schemas"].pop(name, None)
    return document


def _without_definitions(node: Any, found: dict[str, Any]) -> Any:
    """Copy a document without its inner ``$defs``, which go to ``found``: references lead to the components."""
    if isinstance(node, list):
        return [_without_definitions(item, found) for item in node]
    if not isinstance(node, dict):
        return node
    found |= node.get("$defs", {})
    return {key: _without_definitions(value, found) for key, value in node.items() if key != "$defs"}


def _drop_fastapis_422(responses: dict[str, Any]) -> None:
    """FastAPI documents its own answer to bad parameters; ours is 400, as everywhere."""
    schema = responses.get("422", {}).get("content", {}).get("application/json", {}).get("schema")
    if schema is not None and schema != {"$ref": _OURS}:
        del responses["422"]


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in field.get("anyOf", ()) if kind != _NOTHING]
    rest = {key: value for key, value in field.items() if key != "anyOf" and (key, value) != ("default", None)}
    if not kinds:
        return rest
    return {**rest, **kinds[0]} if len(kinds) == 1 else {**rest, "anyOf": kinds}

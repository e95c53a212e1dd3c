"""The image routes of OpenAI's clients: one path, whether the client waits, streams or polls."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.answering import answer
from api.auth import AskingOwner
from api.dependencies import Service, Signer
from api.schemas import EditBody, ImageBody, ImagesResponse, JobBody
from api.submitting import ask_for_edit, ask_for_generation, ask_for_variation

router = APIRouter(tags=["images"])

_PICTURE = {"type": "string", "format": "binary"}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": ImagesResponse, "description": "The pictures."},
    202: {"model": JobBody, "description": "The job, when the client did not want to wait for its end."},
}


def body_docs(schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the OpenAPI documentation of a body, by content type."""
    content = {kind: {"schema": schema} for kind, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}


def multipart_schema(required: tuple[str, ...] = ("image", "prompt")) -> dict[str, Any]:
    """Return the schema of a form with pictures."""
    schema = ImageBody.model_json_schema()
    schema["properties"] = {"image": _PICTURE, "mask": _PICTURE, **schema["properties"]}
    return {**schema, "required": list(required)}


_GENERATION_DOCS = {"application/json": {**ImageBody.model_json_schema(), "required": ["prompt"]}}
_EDIT_DOCS = {"multipart/form-data": multipart_schema(), "application/json": EditBody.model_json_schema()}
_VARIATION_DOCS = {"multipart/form-data": multipart_schema(("image",))}


@router.post("/images/generations", responses=_ANSWERS, openapi_extra=body_docs(_GENERATION_DOCS))
async def generations(request: Request, owner: AskingOwner, service: Service, signer: Signer) -> Response:
    """Draw pictures from a prompt."""
    return await answer(await ask_for_generation(request, owner), service, signer)


@router.post("/images/edits", responses=_ANSWERS, openapi_extra=body_docs(_EDIT_DOCS))
async def edits(request: Request, owner: AskingOwner, service: Service, signer: Signer) -> Response:
    """Redraw a picture, or with a mask a part of it."""
    return await answer(await ask_for_edit(request, owner), service, signer)


@router.post("/images/variations", responses=_ANSWERS, openapi_extra=body_docs(_VARIATION_DOCS))
async def variations(request: Request, owner: AskingOwner, service: Service, signer: Signer) -> Response:
    """Redraw a picture without a prompt."""
    return await answer(await ask_for_variation(request, owner), service, signer)

"""The image routes of OpenAI's clients. Requests that wait, stream or poll are all jobs."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.answer.answers import answer
from api.answer.schemas import ImagesResponse, JobBody
from api.http.dependencies import AnswerLinks, CountedOwner, Service
from api.http.errors import documented
from api.http.openapi import EVENT_STREAM, body_docs, form_schema, json_schema
from api.request.schemas import EditBody, ImageBody
from api.request.submission import read_edit, read_generation, read_variation
from graphs import errors

router = APIRouter(tags=["images"])

REFUSALS = documented(
    errors.InvalidRequest,
    errors.AuthenticationFailed,
    errors.ModelNotFound,
    errors.RequestTooLarge,
    errors.RequestTooSlow,
    errors.IdempotencyConflict,
    errors.QueueFull,
    errors.ServiceUnavailable,
)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": ImagesResponse, "description": "The images; events with stream.", "content": EVENT_STREAM},
    202: {"model": JobBody, "description": "The job, when the client did not want to wait for its end."},
    **REFUSALS,
    **documented(errors.ArtifactExpired, errors.JobFailed),
}
_FORM = form_schema(ImageBody, "image", "prompt")

GENERATION_DOCS = {"application/json": json_schema(ImageBody, "prompt")}
EDIT_DOCS = {"multipart/form-data": _FORM, "application/json": json_schema(EditBody, "prompt")}
_VARIATION_DOCS = {
    "multipart/form-data": form_schema(ImageBody, "image"),
    "application/json": json_schema(EditBody),
}


@router.post("/images/generations", responses=_ANSWERS, openapi_extra=body_docs(GENERATION_DOCS, headers=True))
async def generations(request: Request, owner: CountedOwner, service: Service, links: AnswerLinks) -> Response:
    """Draw images from a prompt."""
    return await answer(await read_generation(request, owner), service, links)


@router.post("/images/edits", responses=_ANSWERS, openapi_extra=body_docs(EDIT_DOCS, headers=True))
async def edits(request: Request, owner: CountedOwner, service: Service, links: AnswerLinks) -> Response:
    """Redraw an image, or with a mask a part of it."""
    return await answer(await read_edit(request, owner), service, links)


@router.post("/images/variations", responses=_ANSWERS, openapi_extra=body_docs(_VARIATION_DOCS, headers=True))
async def variations(request: Request, owner: CountedOwner, service: Service, links: AnswerLinks) -> Response:
    """Redraw an image without a prompt."""
    return await answer(await read_variation(request, owner), service, links)

"""``images/generations`` and ``images/edits``: one path, whether the client waits or not."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from api.bodies import read_edit, read_json
from api.dependencies import Service, Signer
from api.preferences import read_preference
from api.responses import base_url, embedded, job_body, linked, server_timing
from api.schemas import EditBody, ImageBody, ImagesResponse, JobBody
from workers.jobs.job import Job

router = APIRouter(tags=["images"])

_PICTURE = {"type": "string", "format": "binary"}


def _body_docs(schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    content = {kind: {"schema": schema} for kind, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}


def _multipart_schema() -> dict[str, Any]:
    schema = ImageBody.model_json_schema()
    schema["properties"] = {"image": _PICTURE, "mask": _PICTURE, **schema["properties"]}
    return {**schema, "required": ["image", "prompt"]}


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": ImagesResponse, "description": "The pictures."},
    202: {"model": JobBody, "description": "The job, when the client did not want to wait for its end."},
}


@router.post(
    "/images/generations",
    responses=_ANSWERS,
    openapi_extra=_body_docs({"application/json": {**ImageBody.model_json_schema(), "required": ["prompt"]}}),
)
async def generations(request: Request, service: Service, signer: Signer) -> Response:
    """Draw pictures from a prompt."""
    body = await read_json(request, ImageBody)
    with body.naming_parameters_as_sent():
        job = await service.generate(body.parameters())
    return await _answer(request, service, signer, body, job)


@router.post(
    "/images/edits",
    responses=_ANSWERS,
    openapi_extra=_body_docs(
        {"multipart/form-data": _multipart_schema(), "application/json": EditBody.model_json_schema()}
    ),
)
async def edits(request: Request, service: Service, signer: Signer) -> Response:
    """Redraw a picture, or with a mask a part of it."""
    edit = await read_edit(request)
    with edit.body.naming_parameters_as_sent():
        job = await service.edit(edit.body.parameters(), edit.image, edit.mask)
    return await _answer(request, service, signer, edit.body, job)


async def _answer(request: Request, service: Service, signer: Signer, body: ImageBody, job: Job) -> Response:
    preference = read_preference(", ".join(request.headers.getlist("prefer")))
    base = base_url(request, service.settings.http.public_url)
    if preference.wait_s != 0:
        job = await service.wait(job, preference.wait_s)
    if not job.status.is_final:
        position = await service.store.queue_position(job)
        return JSONResponse(
            job_body(job, position, base).model_dump(), 202, {"Location": f"{base}/images/jobs/{job.id}"}
        )
    pictures = await service.pictures(job)
    as_links = body.response_format == "url"
    answer = linked(job, len(pictures), signer, base) if as_links else embedded(job, pictures)
    return Response(
        answer.model_dump_json(exclude_none=True),
        media_type="application/json",
        headers={"Server-Timing": server_timing(job), "x-imagegen-job-id": job.id},
    )

"""``lora_adapters``: administrators add, refresh and remove adapters while the service runs."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from api.answer.schemas import AdapterLeftOut, AdapterRemoved, AdaptersRefreshed, ModelBody
from api.http.dependencies import Administrator, Models
from api.http.errors import documented
from api.http.openapi import body_docs, json_schema
from api.request.json_bodies import read_json
from api.request.schemas import AdapterBody
from api.routers.models import model_body
from graphs import errors

router = APIRouter(tags=["adapters"])

_REFUSALS = documented(errors.InvalidRequest, errors.AuthenticationFailed, errors.NotAllowed, errors.ServiceUnavailable)


@router.post(
    "/lora_adapters",
    status_code=201,
    response_model=ModelBody,
    responses={**_REFUSALS, **documented(errors.RequestTooLarge, errors.RequestTooSlow)},
    openapi_extra=body_docs({"application/json": json_schema(AdapterBody)}),
)
async def add(request: Request, _: Administrator, models: Models) -> Response:
    """Fetch an adapter, see that it fits the model, and serve it on every worker; it is kept over restarts."""
    body = await read_json(request, AdapterBody)
    await models.add(body.model, body.alias, body.source, body.alpha)
    route = (await models.repository()).route(body.alias)
    return JSONResponse(model_body(route, request, models, {}).model_dump(), 201)


@router.post("/lora_adapters/refresh", responses=_REFUSALS)
async def refresh(_: Administrator, models: Models) -> AdaptersRefreshed:
    """Look at the folder of adapters again: serve new and changed files, and no longer those that are gone."""
    changes = await models.refresh()
    return AdaptersRefreshed(
        served=changes.served,
        added=changes.added,
        changed=changes.changed,
        removed=changes.removed,
        left_out=[AdapterLeftOut(file=file, reason=reason) for file, reason in changes.left_out],
    )


@router.delete("/lora_adapters/{alias}", responses={**_REFUSALS, **documented(errors.ModelNotFound)})
async def remove(alias: str, _: Administrator, models: Models) -> AdapterRemoved:
    """Serve an adapter no longer. Jobs that wait for it fail with its name."""
    await models.remove(alias)
    return AdapterRemoved(id=alias)

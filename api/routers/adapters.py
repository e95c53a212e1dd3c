"""``lora_adapters``: adapters added and removed while the service runs, by administrators."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from api.http.auth import Administrator
from api.http.dependencies import Service
from api.http.errors import documented
from api.http.openapi import body_docs, json_schema
from api.request.bodies import read_json
from api.request.schemas import ModelBody
from graphs import errors
from graphs.requests.request import FiniteFloat

router = APIRouter(tags=["adapters"])


_REFUSALS = documented(errors.InvalidRequest, errors.AuthenticationFailed, errors.NotAllowed, errors.ServiceUnavailable)


class AdapterBody(BaseModel):
    """An adapter to serve from now on."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    alias: str = Field(description="The name that requests will send as model.", min_length=1, max_length=100)
    source: str = Field(description="URL, path or Hugging Face repository, as in --source_loras.", max_length=2048)
    alpha: FiniteFloat | None = Field(None, ge=-1000, le=1000, description="Strength unless a request says another.")
    model: str | None = Field(None, description="The graph it belongs to; needed where several are served.")


class AdapterRemoved(BaseModel):
    """An adapter is served no longer."""

    id: str
    object: str = "model.deleted"
    deleted: bool = True


@router.post(
    "/lora_adapters",
    status_code=201,
    response_model=ModelBody,
    responses={**_REFUSALS, **documented(errors.RequestTooLarge, errors.RequestTooSlow)},
    openapi_extra=body_docs({"application/json": json_schema(AdapterBody)}),
)
async def add(request: Request, _: Administrator, service: Service) -> Response:
    """Fetch an adapter, see that it fits the model, and serve it on every worker; it is kept over restarts."""
    body = await read_json(request, AdapterBody)
    graph = await service.served.add(body.model, body.alias, body.source, body.alpha)
    route = (await service.served.repository()).route(body.alias)
    model = ModelBody(
        id=body.alias,
        created=request.app.state.started_at,
        kind=route.kind,
        base=graph,
        adapters=dict(route.adapters),
    )
    return JSONResponse(model.model_dump(), 201)


@router.delete("/lora_adapters/{alias}", responses={**_REFUSALS, **documented(errors.ModelNotFound)})
async def remove(alias: str, _: Administrator, service: Service) -> AdapterRemoved:
    """Serve an adapter no longer. Jobs that wait for it fail with its name."""
    await service.served.remove(alias)
    return AdapterRemoved(id=alias)

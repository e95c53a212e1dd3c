"""``models``: every name that requests can be routed to."""

from fastapi import APIRouter, Request

from api.http.auth import KeyOwner
from api.http.dependencies import Service
from api.http.errors import documented
from api.request.schemas import ModelBody, ModelList
from graphs.errors import AuthenticationFailed, ModelNotFound
from graphs.repository.repository import Route

router = APIRouter(tags=["models"])


def _model(route: Route, created: int) -> ModelBody:
    return ModelBody(
        id=route.model, created=created, kind=route.kind, base=route.graph.name, adapters=dict(route.adapters)
    )


@router.get("/models", responses=documented(AuthenticationFailed))
async def models(request: Request, _: KeyOwner, service: Service) -> ModelList:
    """List base models, adapters and composites."""
    started_at: int = request.app.state.started_at
    return ModelList.of([_model(route, started_at) for route in (await service.served.repository()).routes()])


@router.get("/models/{name:path}", responses=documented(AuthenticationFailed, ModelNotFound))
async def model(name: str, request: Request, _: KeyOwner, service: Service) -> ModelBody:
    """Describe one name."""
    return _model((await service.served.repository()).route(name), request.app.state.started_at)

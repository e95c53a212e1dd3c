"""``models``: the names that requests can be routed to."""

from collections.abc import Mapping

from fastapi import APIRouter, Request

from api.answer.schemas import AdapterFileBody, CoverageBody, ModelBody, ModelList
from api.http.dependencies import KeyOwner, Models, Service
from api.http.errors import documented
from api.live_models import LiveModels
from graphs.adapters.updates import AdapterCoverage
from graphs.errors import AuthenticationFailed, ModelNotFound, ServiceUnavailable
from graphs.repository.repository import Route

router = APIRouter(tags=["models"])


@router.get("/models", responses=documented(AuthenticationFailed))
async def models(request: Request, owner: KeyOwner, models: Models, service: Service) -> ModelList:
    """List base models, adapters and composites, then other names of models (``alias_of``).

    An administrator also sees what cannot be served, and why.
    """
    repository = await models.repository()
    others = await service.other_digests()
    own = [model_body(route, request, models, others) for route in repository.routes()]
    aliases = [model_body(route, request, models, others, alias) for alias, route in repository.alias_routes()]
    failed = await service.failed() if owner.is_administrator else {}
    return ModelList(data=own + aliases, failed=failed or None)


@router.get("/models/{name:path}", responses=documented(AuthenticationFailed, ModelNotFound, ServiceUnavailable))
async def model(name: str, request: Request, _: KeyOwner, models: Models, service: Service) -> ModelBody:
    """Describe one name."""
    repository = await models.repository()
    alias = name if repository.is_alias(name) else None
    return model_body(repository.route(name), request, models, await service.other_digests(), alias)


def model_body(
    route: Route, request: Request, models: LiveModels, others: Mapping[str, list[str]], alias: str | None = None
) -> ModelBody:
    """Return the model object, under its ``alias`` where one is given. Its time of creation is the start of this
    process. ``others``: the digests of other models under the names of graphs."""
    created: int = request.app.state.started_at
    files = {alias: coverage for alias, _ in route.adapters if (coverage := models.coverage(alias)) is not None}
    return ModelBody(
        id=alias or route.model,
        created=created,
        kind=route.kind,
        alias_of=route.model if alias else None,
        base=route.graph.name,
        adapters=dict(route.adapters),
        digest=request.app.state.service.digest(route.graph.name) or None,
        other_digests=others.get(route.graph.name),
        adapter_files={alias: _adapter_body(coverage) for alias, coverage in files.items()},
    )


def _adapter_body(coverage: AdapterCoverage) -> AdapterFileBody:
    layers = {name: CoverageBody(matched=one.matched, total=one.total) for name, one in coverage.components.items()}
    return AdapterFileBody(layers=layers, ranks=coverage.ranks, left_out=coverage.left_out)

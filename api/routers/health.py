"""Liveness and readiness probes."""

from fastapi import APIRouter

from api.http.dependencies import Keys, Service
from api.http.errors import documented
from api.http.openapi import OPEN
from api.service import NOT_READY, ImageService
from graphs.errors import ServiceUnavailable, ShuttingDown

# With API keys, a probe has none, so it gets neither names of models nor anything of Redis.
_PUBLIC_REASONS = {
    NOT_READY: "A model has no worker that has loaded it yet.",
    ShuttingDown.code: "The server is shutting down.",
}
_OTHER_REASON = "The job store cannot be used now."

router = APIRouter(tags=["health"])


@router.get("/v2/health/live", openapi_extra=OPEN)
async def live() -> dict[str, str]:
    """Answer while the process runs."""
    return {"status": "live"}


@router.get("/v2/health/ready", openapi_extra=OPEN, responses=documented(ServiceUnavailable))
async def ready(service: Service, keys: Keys) -> dict[str, str]:
    """Answer 200 when Redis answers and every graph has a worker that has loaded it, else 503 with the reason.

    A model that cannot be served does not make the others unready: ``warning`` tells of it, or that there is no model.

    A server with API keys gives the kind of the reason only; its log has the rest, once for each reason.

    A server that is shutting down is not ready, so that load balancers send requests elsewhere.
    """
    try:
        await service.check_ready()
    except ServiceUnavailable as error:
        if keys.is_open:
            raise
        public = _PUBLIC_REASONS.get(error.code, _OTHER_REASON)
        raise ServiceUnavailable(
            public, reason=str(error), code=error.code, retry_after_s=error.retry_after_s
        ) from error
    warning = await _warning(service, names_models=keys.is_open)
    return {"status": "ready", "warning": warning} if warning else {"status": "ready"}


async def _warning(service: ImageService, *, names_models: bool) -> str | None:
    if failed := await service.failed():
        names = f": {', '.join(failed)}" if names_models else ""
        return f"{len(failed)} of the configured models cannot be served{names}."
    return None if service.devices else "No model is served: none is configured."

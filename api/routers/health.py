"""Liveness and readiness probes."""

from fastapi import APIRouter

from api.http.dependencies import Service
from api.http.errors import documented
from api.http.openapi import OPEN
from graphs.errors import ServiceUnavailable

router = APIRouter(tags=["health"])


@router.get("/v2/health/live", openapi_extra=OPEN)
async def live() -> dict[str, str]:
    """Answer while the process runs."""
    return {"status": "live"}


@router.get("/v2/health/ready", openapi_extra=OPEN, responses=documented(ServiceUnavailable))
async def ready(service: Service) -> dict[str, str]:
    """Answer 200 when Redis answers and every graph has a worker that has loaded it, else 503 with the reason.

    A server that is shutting down is not ready, so that load balancers send requests elsewhere.
    """
    await service.check_ready()
    return {"status": "ready"}

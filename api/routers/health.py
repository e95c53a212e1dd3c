"""Probes: alive, and ready for work."""

from fastapi import APIRouter

from api.http.dependencies import Service
from api.http.errors import NOT_READY, documented
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

    A server that is shutting down is not ready, so that balancers send their requests elsewhere.
    """
    service.drain.check_open()
    await service.store.check_layout()
    loaded = {worker.graph for worker in await service.store.workers() if worker.ready}
    missing = [name for name in service.graph_names if name not in loaded]
    if missing:
        raise ServiceUnavailable(f"No worker has loaded {', '.join(missing)} yet.", code=NOT_READY)
    return {"status": "ready"}

"""``/me``: who a client is here, and what it may."""

from fastapi import APIRouter, Request

from api.answer.queue_schemas import LimitsBody, OwnerBody
from api.http.dependencies import KeyOwner, Keys
from api.http.errors import documented
from config.settings import Settings
from graphs.errors import AuthenticationFailed
from workers.jobs.queue_bounds import kept_bounds, queue_bounds

router = APIRouter(tags=["me"])


@router.get("/me", responses=documented(AuthenticationFailed))
async def me(request: Request, owner: KeyOwner, keys: Keys) -> OwnerBody:
    """Say whose key this is, and its limits."""
    settings: Settings = request.app.state.settings
    queued = queue_bounds(settings.jobs, owner.id)
    kept = kept_bounds(settings.jobs, owner.id)
    limits = LimitsBody(
        requests_per_minute=owner.requests_per_minute or settings.http.requests_per_minute or None,
        queued_jobs=queued.owner_jobs,
        queued_bytes=queued.owner_bytes,
        kept_jobs=kept.jobs,
        kept_bytes=kept.bytes,
        max_priority=owner.max_priority.value,
    )
    return OwnerBody(
        owner=owner.shown,
        administrator=owner.is_administrator and not keys.is_open,
        keys_required=not keys.is_open,
        limits=limits,
    )

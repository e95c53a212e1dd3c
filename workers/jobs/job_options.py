"""What a client wants of a job beside its picture: who asks, how soon, who is told."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from graphs.api_keys import ANYONE, Priority

WebhookEvent = Literal["queued", "in_progress", "completed", "failed", "cancelled"]
FINAL_EVENTS: tuple[WebhookEvent, ...] = ("completed", "failed", "cancelled")

# OpenAI's rule for metadata: 16 pairs, keys of 64 and values of 512 characters.
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]


class Webhook(BaseModel):
    """Where to tell about a job, and of which of its events."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(min_length=1, max_length=2048)
    events: tuple[WebhookEvent, ...] = Field(FINAL_EVENTS, min_length=1)


class JobOptions(BaseModel):
    """A job's options, stored with it. ``deadline`` is unix seconds; ``previews`` counts partial images per image."""

    model_config = ConfigDict(frozen=True)

    owner: str = ANYONE.id
    priority: Priority = Priority.NORMAL
    previews: int = Field(0, ge=0, le=3)
    deadline: float | None = None
    metadata: Metadata | None = None
    webhook: Webhook | None = None
    # Of the request that submitted it, so that log lines of API and worker can be put together.
    request_id: str | None = None

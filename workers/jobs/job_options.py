"""The options of a job beside its request: owner, priority, deadline, webhook and the like."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from graphs.api_keys import ANYONE, Priority
from workers.jobs.status import FINAL_STATUSES, Status, StatusName

# OpenAI's rule for metadata: 16 pairs, keys of 64 and values of 512 characters.
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]


class Webhook(BaseModel):
    """The URL that receives events of a job, and the events that it receives."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(min_length=1, max_length=2048)
    events: tuple[StatusName, ...] = Field(
        tuple(status.value for status in FINAL_STATUSES), min_length=1, max_length=len(Status)
    )


class JobOptions(BaseModel):
    """A job's options, stored with it. ``deadline`` is unix seconds; ``previews`` counts partial images per image."""

    model_config = ConfigDict(frozen=True)

    owner: str = ANYONE.id
    priority: Priority = Priority.NORMAL
    previews: int = Field(0, ge=0, le=3)
    deadline: float | None = None
    metadata: Metadata | None = None
    webhook: Webhook | None = None
    # The id of the HTTP request that submitted the job, so that log lines of API and worker can be matched.
    request_id: str | None = None
    # The header of that request that says which trace it belongs to (config/traceparent.py).
    traceparent: str | None = None

    @property
    def trace(self) -> dict[str, str]:
        """The header ``traceparent`` by its name, if there is one: older releases do not know it."""
        return {} if self.traceparent is None else {"traceparent": self.traceparent}

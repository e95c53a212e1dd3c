"""The statuses of a job, in one place: API, command line, webhooks and Lua scripts take theirs from here."""

from enum import StrEnum
from typing import TYPE_CHECKING, Literal


class Status(StrEnum):
    """The status of a job, as Redis holds it. The event that announces a status has the same name."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Return whether the status never changes again."""
        return not TRANSITIONS[self]


# All changes of a status; a Lua script makes each of them in one step (workers/jobs/redis/lua).
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.IN_PROGRESS, Status.CANCELLED, Status.FAILED}),
    Status.IN_PROGRESS: frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.QUEUED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}

FINAL_STATUSES = tuple(status for status in Status if status.is_final)

# What clients see in place of "completed" once the artifacts have expired.
EXPIRED = "expired"
SHOWN_STATUSES: tuple[str, ...] = (*(status.value for status in Status), EXPIRED)

if TYPE_CHECKING:
    StatusName = str
    ShownStatusName = str
else:
    # pydantic and FastAPI check and document these; type checkers cannot compute a Literal.
    StatusName = Literal[tuple(status.value for status in Status)]
    ShownStatusName = Literal[SHOWN_STATUSES]


class ClaimState(StrEnum):
    """Whether a worker that records a step goes on with its job."""

    GO_ON = "go on"
    CANCEL = "cancel"
    LOST = "lost"

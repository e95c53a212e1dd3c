"""The Lua scripts of the job store: each makes one transition in one step.

The names of a script's keys and arguments are declared here only. Python passes them by name; the header in front of
the Lua source reads them, in the same order, into local variables of these names (script.py).
"""

from workers.jobs.redis.script import ArgumentKind, GraphScript, Script

_TEXT = ArgumentKind.TEXT
_NUMBER = ArgumentKind.NUMBER
_LIST = ArgumentKind.LIST

# What the owner of a job may keep (queue_bounds.py, KeptBounds).
_KEPT = {"max_kept": _NUMBER, "max_kept_bytes": _NUMBER, "kept_share": _NUMBER}

# The client's side (store.py, observe/queue_view.py).
SUBMIT = GraphScript(
    "submit",
    keys=["fairness_key", "idempotency_key", "messages_key", "adapters_version_key"],
    arguments={
        "adapters_version": _TEXT,
        "job_id": _TEXT,
        "message": _TEXT,
        "name": _TEXT,
        "owner": _TEXT,
        "image": _TEXT,
        "mask": _TEXT,
        "priority_rank": _NUMBER,
        "cost": _NUMBER,
        "size_bytes": _NUMBER,
        "start_by": _TEXT,
        "digest": _TEXT,
        "model_digest": _TEXT,
        "join": _TEXT,
        "idempotency_ttl_s": _NUMBER,
        "max_queued": _NUMBER,
        "max_queued_bytes": _NUMBER,
        "max_owner_queued": _NUMBER,
        "max_owner_bytes": _NUMBER,
        **_KEPT,
        "fields": _LIST,
    },
)
CANCEL = GraphScript("cancel", arguments={"job_id": _TEXT, "owner": _TEXT})
ERASE = GraphScript("erase", arguments={"job_id": _TEXT, "owner": _TEXT, "if_alone": _NUMBER})
SWEEP = Script("sweep", arguments={"most": _NUMBER})
OUTLOOK = GraphScript("outlook", keys=["times_key", "paused_key"], arguments={"job_ids": _LIST})
WAITERS = GraphScript("waiters", arguments={"job_id": _TEXT, "owner": _TEXT, "change": _NUMBER})

FOLLOW = Script("follow", keys=["owner_events_key"], arguments={"after": _TEXT, "most": _NUMBER})

# What administrators do (control/queue_control.py).
WAITING_JOBS = GraphScript("waiting_jobs", arguments={"of_graph": _TEXT, "after": _TEXT, "most": _NUMBER})
FRONT = GraphScript("front", keys=["fairness_key"], arguments={"job_id": _TEXT})
PAUSE = GraphScript("pause", keys=["paused_key", "messages_key"], arguments={"is_paused": _NUMBER, "message": _TEXT})

# The worker's side (claims.py).
CLAIM = GraphScript(
    "claim",
    keys=["fairness_key", "claim_key", "messages_key", "paused_key"],
    arguments={
        "worker": _TEXT,
        "digest": _TEXT,
        "nonce": _TEXT,
        "message": _TEXT,
        "lease_ms": _NUMBER,
        "max_attempts": _NUMBER,
        "counted": _LIST,
    },
)
PROGRESS = GraphScript(
    "progress",
    keys=["owner_events_key"],
    arguments={
        "job_id": _TEXT,
        "token": _TEXT,
        "step": _NUMBER,
        "total_steps": _NUMBER,
        "image_index": _NUMBER,
        "partial_image_index": _NUMBER,
        "preview": _TEXT,
    },
)
FINISH = GraphScript(
    "finish",
    keys=["times_key"],
    arguments={
        "job_id": _TEXT,
        "token": _TEXT,
        "new_status": _TEXT,
        "work": _TEXT,
        "measured_s": _TEXT,
        "cold_s": _NUMBER,
        "most_times": _NUMBER,
        **_KEPT,
        "artifacts": _LIST,
        "fields": _LIST,
    },
)
HAND_BACK = GraphScript("hand_back", arguments={"job_id": _TEXT, "claim_field": _TEXT, "claim_value": _TEXT})
RUN_AGAIN = GraphScript(
    "run_again",
    arguments={"job_id": _TEXT, "token": _TEXT, "trouble": _TEXT, "max_faults": _NUMBER, "failed_message": _TEXT},
)

# The upkeep (recovery.py).
RENEW = GraphScript("renew", arguments={"job_id": _TEXT, "worker": _TEXT, "lease_ms": _NUMBER})
RELEASE = GraphScript(
    "release",
    arguments={
        "job_id": _TEXT,
        "worker": _TEXT,
        "time_limit_s": _NUMBER,
        "overdue_message": _TEXT,
        "stopped_message": _TEXT,
    },
)
REAP = GraphScript(
    "reap",
    arguments={
        "max_attempts": _NUMBER,
        "lease_ms": _NUMBER,
        "young_s": _NUMBER,
        "time_limit_s": _NUMBER,
        "overdue_message": _TEXT,
        "digest_grace_ms": _NUMBER,
        "digest_message": _TEXT,
    },
)
LOST = GraphScript(
    "lost",
    keys=["ready_key", "ready_own_key", "ready_any_key", "paused_key"],
    arguments={"digest": _TEXT, "is_idle": _NUMBER, "resend_after_ms": _NUMBER},
)
_OF_WORKER = ["ready_key", "ready_own_key", "reaper_key"]
HEARTBEAT = Script(
    "heartbeat",
    keys=["digests_key", *_OF_WORKER],
    arguments={"worker": _TEXT, "presence": _TEXT, "digest": _TEXT, "is_ready": _NUMBER},
)
PRESENCES = Script("presences", arguments={"since_ms": _NUMBER})
LEAVE = Script("leave", keys=_OF_WORKER, arguments={"worker": _TEXT})

# Which models are served (models/).
LISTING = Script(
    "listing",
    keys=["listed_key", "removed_key", "reloads_key"],
    arguments={"models": _LIST, "graphs": _LIST, "removed": _LIST},
)
END_REMOVED = GraphScript(
    "end_removed",
    keys=["removed_key"],
    arguments={"removed_graph": _TEXT, "removed_grace_ms": _NUMBER, "message": _TEXT},
)

# Webhooks (deliveries.py).
DUE = Script("due", arguments={"hold_ms": _NUMBER, "limit": _NUMBER, "per_owner": _NUMBER, "per_receiver": _NUMBER})
BEGIN = Script("begin", arguments={"event_id": _TEXT, "token": _TEXT, "hold_ms": _NUMBER})
SETTLE = Script("settle", arguments={"event_id": _TEXT, "token": _TEXT, "delay_ms": _NUMBER})

# The version of the data (layout.py).
LAYOUT = Script(
    "layout",
    checks_layout=False,
    arguments={"version": _TEXT, "older_versions": _LIST},
)
ADOPT = Script("adopt", arguments={"cursor": _TEXT})

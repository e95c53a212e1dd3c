"""The attacks by name. Each takes the service and random choices, and returns the statuses of the answers it got."""

import random
from collections import Counter
from collections.abc import Callable

from tests.attack import bodies, connections, floods, owners
from tests.support.service import Service

Statuses = Counter[int | None]
Attack = Callable[[Service, random.Random], Statuses]

ATTACKS: dict[str, Attack] = {
    "endless headers": connections.endless_headers,
    "silent connections": connections.silent_connections,
    "dripping headers": connections.dripping_headers,
    "dripping bodies": connections.dripping_bodies,
    "answers not taken": connections.answers_not_taken,
    "no HTTP": connections.no_http,
    "JSON of many parts": bodies.json_of_many_parts,
    "forms of any shape": bodies.forms_of_any_shape,
    "large base64": bodies.large_base64,
    "hostile images": bodies.hostile_images,
    "bodies without a key": bodies.bodies_without_a_key,
    "pages of other origins": owners.pages_of_other_origins,
    "jobs of others": owners.jobs_of_others,
    "forged addresses": owners.forged_addresses,
    "what only administrators may": owners.what_only_administrators_may,
    "webhooks to forbidden addresses": owners.webhooks_to_forbidden_addresses,
    "wrong keys": floods.wrong_keys,
    "jobs submitted and cancelled": floods.jobs_submitted_and_cancelled,
    "lists of jobs": floods.lists_of_jobs,
    "event streams not read": floods.event_streams_not_read,
}

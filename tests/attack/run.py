"""Runs a plan against a service under honest load, and looks at the service's memory meanwhile."""

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.attack.attacks import ATTACKS, Statuses
from tests.attack.load import HonestLoad, Seen
from tests.attack.plan import Planned
from tests.attack.target import attacked_service, memory_bytes
from tests.security.honest import api_pid
from tests.support.polling import pause, wait_until
from tests.support.service import Service

_SAMPLE_S = 2.0
_CALM_S = 10.0
_AT_ONCE = 4


@dataclass
class Evidence:
    """What a run left behind. ``memory``: seconds after the start, and bytes of each kind of process."""

    planned: Sequence[Planned]
    seen: Seen = field(default_factory=Seen)
    statuses: dict[str, Statuses] = field(default_factory=dict)
    # The longest attack of each kind.
    attacks_s: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    memory: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    restarts: int = 0
    tracebacks: int = 0
    took_s: float = 0.0


def run(planned: Sequence[Planned], folder: Path, engine: str, duration_s: float) -> Evidence:
    """Serve, attack, and return what was seen. Honest load begins before the attacks and ends after them."""
    evidence = Evidence(planned)
    with attacked_service(folder, engine) as service:
        first_pid = api_pid(service)
        over = threading.Event()
        began = time.monotonic()
        sampler = threading.Thread(target=_sample, args=(service, evidence, over, began))
        with HonestLoad(service) as load:
            evidence.seen = load.seen
            wait_until(lambda: len(load.seen.seconds) >= 9, "the honest clients are there")
            sampler.start()
            _attack(service, evidence)
            wait_until(lambda: time.monotonic() - began >= duration_s, deadline_s=duration_s + 60)
            pause(_CALM_S)
        over.set()
        sampler.join()
        evidence.restarts = int(api_pid(service) != first_pid)
        evidence.tracebacks = service.log.read_text().count("Traceback")
        evidence.took_s = time.monotonic() - began
    return evidence


def _attack(service: Service, evidence: Evidence) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running: list[tuple[Planned, Future[Statuses]]] = []
        for attack in evidence.planned:
            pause(max(0.0, began + attack.at_s - time.monotonic()))
            chosen = random.Random(attack.seed)
            running.append((attack, pool.submit(_timed, evidence, attack.name, service, chosen)))
        for attack, future in running:
            try:
                found = future.result()
            except Exception as error:  # noqa: BLE001 - each of them is reported, and ends the run with 1
                evidence.errors.append(f"{attack.name}: {type(error).__name__}: {error}"[:300])
            else:
                evidence.statuses.setdefault(attack.name, Counter()).update(found)


def _timed(evidence: Evidence, name: str, service: Service, chosen: random.Random) -> Statuses:
    began = time.monotonic()
    try:
        return ATTACKS[name](service, chosen)
    finally:
        evidence.attacks_s[name] = max(evidence.attacks_s.get(name, 0.0), time.monotonic() - began)


def _sample(service: Service, evidence: Evidence, over: threading.Event, began: float) -> None:
    while not over.wait(_SAMPLE_S):
        evidence.memory.append((time.monotonic() - began, memory_bytes(service)))

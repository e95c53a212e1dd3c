"""What one run does, from its seed: which faults, when, at whom, and what the clients ask for meanwhile.

The same seed gives the same plan. What happens in between is up to the processes' timing: a run is repeated in what
it does, not in what it meets.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

WORKERS = APIS = 2
FATAL_WORDS = "segmentation fault"


class Kind(StrEnum):
    """A way to harm the service."""

    CHILD_KILL = "child-kill"  # SIGKILL of the process that draws: a crash in native code
    WORKER_KILL = "worker-kill"  # SIGKILL of a worker's main process; its child dies with it
    API_KILL = "api-kill"
    WORKER_FREEZE = "worker-freeze"  # SIGSTOP for longer than a lease, then SIGCONT: its claims must be worth nothing
    REDIS_KILL = "redis-kill"  # SIGKILL, started again on the same files
    REDIS_FREEZE = "redis-freeze"  # SIGSTOP, SIGCONT
    CLIENT_PAUSE = "client-pause"
    CLIENT_KILL = "client-kill"  # every connection to Redis is closed
    NETWORK_CUT = "network-cut"  # one process loses its connections to Redis, and gets no new ones for a while
    NETWORK_STALL = "network-stall"  # nothing passes for a while, then everything does
    NETWORK_SILENCE = "network-silence"  # the present connections never say anything again, new ones work
    ANSWER_LOSS = "answer-loss"  # Redis does what it is asked; the connection breaks before it can say so
    MESSAGE_LOSS = "message-loss"  # a Celery message vanishes
    MESSAGE_DOUBLE = "message-double"
    POISON = "poison"  # a request that ends every process that draws it
    MAXMEMORY = "maxmemory"  # Redis takes no more data for a while
    WORKER_SIGTERM = "worker-sigterm"
    API_SIGTERM = "api-sigterm"


GROUPS = {
    "sigterm": (Kind.WORKER_SIGTERM, Kind.API_SIGTERM),
    "network": (Kind.NETWORK_CUT, Kind.NETWORK_STALL, Kind.NETWORK_SILENCE, Kind.ANSWER_LOSS),
    "redis": (Kind.REDIS_KILL, Kind.REDIS_FREEZE, Kind.CLIENT_PAUSE, Kind.CLIENT_KILL),
    "message": (Kind.MESSAGE_LOSS, Kind.MESSAGE_DOUBLE),
    **{kind.value: (kind,) for kind in Kind},
}
# How long each lasts, in seconds; what is not here lasts no time.
_LASTS_S: dict[Kind, tuple[float, float]] = {
    Kind.REDIS_KILL: (0.1, 5.0),
    Kind.REDIS_FREEZE: (1.0, 10.0),
    Kind.CLIENT_PAUSE: (1.0, 10.0),
    Kind.NETWORK_CUT: (0.0, 4.0),
    Kind.NETWORK_STALL: (1.0, 10.0),
    Kind.MAXMEMORY: (1.0, 4.0),
}
_BEYOND_LEASE_S = (0.5, 4.0)


@dataclass(frozen=True)
class Fault:
    """One fault. ``part`` tells which of the processes it is for; ``aim``: wait until that one is at work.

    ``overlaps``: the next fault does not wait for the end of this one.
    """

    number: int
    kind: Kind
    pause_s: float
    lasts_s: float
    part: int
    aim: bool
    overlaps: bool
    times: int


class AskKind(StrEnum):
    """How a client asks for an image."""

    WAIT = "wait"  # as the OpenAI SDK does, with its own retries
    KEYED = "wait, Idempotency-Key"
    EDIT = "edit"
    INPAINT = "edit with mask"
    STREAM = "stream"
    JOB = "job"
    PUT = "job under an id of the client's"
    CANCEL = "job, cancelled"
    LEAVE = "wait, leaves"
    POISON = "poison"
    AT_FAULT = "at fault"  # the runtime fails, or computes infinite numbers, on any device
    PLAIN = "plain image"  # one value, or nearly so: an image all the same


# Each of these has a key, so a request that is sent twice makes one job.
ONCE_ONLY = frozenset(
    {AskKind.KEYED, AskKind.STREAM, AskKind.JOB, AskKind.PUT, AskKind.CANCEL, AskKind.POISON, AskKind.AT_FAULT}
)
_NEVER = dict.fromkeys((AskKind.POISON, AskKind.AT_FAULT, AskKind.PLAIN), 0)
_WEIGHTS = {**dict.fromkeys(AskKind, 1), AskKind.WAIT: 4, AskKind.JOB: 4, **_NEVER}


@dataclass(frozen=True)
class Ask:
    """One client's request; its number stands in the prompt, so that its jobs are known again."""

    number: int
    kind: AskKind
    prompt: str
    seed: int
    size: str
    steps: int
    images: int
    after_s: float

    @property
    def key(self) -> str:
        """What makes it the same request when it is sent again."""
        return f"ask-{self.number}-{self.seed}"

    @property
    def is_edit(self) -> bool:
        return self.kind in (AskKind.EDIT, AskKind.INPAINT)

    def body(self) -> dict[str, object]:
        """The fields that say what to draw."""
        return {
            "prompt": self.prompt,
            "size": self.size,
            "n": self.images,
            "seed": self.seed,
            "num_inference_steps": self.steps,
        }


@dataclass(frozen=True)
class Plan:
    """A run: its faults, and a client's request for every number."""

    seed: int
    lease_s: float
    faults: tuple[Fault, ...]

    @property
    def asks(self) -> int | None:
        """How many requests there are; None: as many as come while parts are harmed."""
        return None

    @property
    def breaks_after(self) -> int | None:
        """How many requests a worker's device draws before it breaks; None: it never does."""
        return None

    def ask(self, number: int) -> Ask:
        """The request of that number; the same for the same seed."""
        kind = random.Random(f"{self.seed}/kind/{number}").choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        return self.ask_of_kind(number, kind)

    def ask_of_kind(self, number: int, kind: AskKind) -> Ask:
        """The request of that number, asked in this way."""
        return self._ask(number, kind, f"ask {number}: a fox")

    def poison(self, fault: Fault) -> Ask:
        """The request that a poisonous fault sends."""
        return self._ask(-1 - fault.number, AskKind.POISON, f"ask {-1 - fault.number}: a {FATAL_WORDS}, at dawn")

    def _ask(self, number: int, kind: AskKind, prompt: str) -> Ask:
        chance = random.Random(f"{self.seed}/ask/{number}")
        return Ask(
            number=number,
            kind=kind,
            prompt=prompt,
            seed=chance.randrange(2**32),
            size=chance.choice(["64x64", "128x64", "96x96"]),
            steps=chance.randint(3, 10),
            images=1 if kind in (AskKind.EDIT, AskKind.INPAINT) else chance.choice([1, 1, 1, 2]),
            after_s=chance.uniform(0.0, 3.0),
        )


def ask_number(prompt: str) -> int:
    """The number of the ask that a job's prompt belongs to."""
    return int(prompt.partition(":")[0].removeprefix("ask "))


def make_plan(
    seed: int,
    count: int,
    *,
    without: Sequence[str] = (),
    lease_s: float = 6.0,
    pause_s: tuple[float, float] = (0.5, 4.0),
) -> Plan:
    """Return the plan of a seed: ``count`` faults, every kind about as often, in an order of the seed's."""
    chance = random.Random(seed)
    left_out = {kind for name in without for kind in GROUPS[name]}
    kinds: list[Kind] = []
    while len(kinds) < count:
        more = [kind for kind in Kind if kind not in left_out]
        kinds += chance.sample(more, len(more))
    return Plan(seed, lease_s, tuple(_fault(chance, n, kind, lease_s, pause_s) for n, kind in enumerate(kinds[:count])))


def _fault(chance: random.Random, number: int, kind: Kind, lease_s: float, pause_s: tuple[float, float]) -> Fault:
    shortest_s, longest_s = _LASTS_S.get(kind, (0.0, 0.0))
    lasts_s = shortest_s + (longest_s - shortest_s) * chance.random() ** 2  # most are short
    if kind is Kind.WORKER_FREEZE:
        lasts_s = lease_s + chance.uniform(*_BEYOND_LEASE_S)
    return Fault(
        number=number,
        kind=kind,
        pause_s=chance.uniform(*pause_s),
        lasts_s=min(lasts_s, 1.7 * lease_s),
        part=chance.randrange(WORKERS + APIS),
        aim=chance.random() < 0.8,
        overlaps=chance.random() < 0.5,
        times=chance.randint(1, 3),
    )

"""What a call costs: processor time of this process and of Redis, commands, and bytes."""

import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from statistics import median

import redis

_ROUNDS = 7


@dataclass(frozen=True)
class Cost:
    """What one call costs: milliseconds of two processors, commands in Redis, and bytes."""

    client_ms: float
    redis_ms: float
    commands: float
    bytes_out: float
    bytes_in: float

    def row(self) -> str:
        """Return the cells of a table."""
        figures = f"{self.client_ms:.2f} | {self.redis_ms:.2f} | {self.commands:,.0f}"
        return f"{figures} | {self.bytes_out:,.0f} | {self.bytes_in:,.0f} |"

    def against(self, first: "Cost") -> str:
        """Return the cells with the ratios to another cost."""
        pairs = [
            (self.client_ms, first.client_ms), (self.redis_ms, first.redis_ms), (self.commands, first.commands),
            (self.bytes_out, first.bytes_out), (self.bytes_in, first.bytes_in),
        ]  # fmt: skip
        return " | ".join(f"{mine / other:.2f}" if other else "-" for mine, other in pairs) + " |"


class Meter:
    """Measures calls by the counters of Redis and this process's processor time."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._own = Cost(0, 0, 0, 0, 0)
        self._own = self.of(lambda: None, calls=1)

    def of(self, act: Callable[[], object], calls: int, prepare: Callable[[], object] = lambda: None) -> Cost:
        """Return the cost of each of so many calls, which ``act`` makes: medians of rounds, without ``prepare``."""
        rounds = []
        for _ in range(_ROUNDS):
            prepare()
            rounds.append(astuple(self._round(act, calls)))
        return Cost(*map(median, zip(*rounds, strict=True)))

    def _round(self, act: Callable[[], object], calls: int) -> Cost:
        before = self._counters()
        cpu_s = time.process_time()
        act()
        cpu_s = time.process_time() - cpu_s
        redis_s, *counts = (after - earlier for after, earlier in zip(self._counters(), before, strict=True))
        commands, bytes_out, bytes_in = counts
        return Cost(
            cpu_s * 1000 / calls,
            redis_s * 1000 / calls,
            (commands - self._own.commands) / calls,
            (bytes_out - self._own.bytes_out) / calls,
            (bytes_in - self._own.bytes_in) / calls,
        )

    def _counters(self) -> tuple[float, int, int, int]:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.info("stats")
        pipeline.info("cpu")
        stats, cpu = pipeline.execute()
        return (
            cpu["used_cpu_user"] + cpu["used_cpu_sys"],
            stats["total_commands_processed"],
            stats["total_net_output_bytes"],
            stats["total_net_input_bytes"],
        )

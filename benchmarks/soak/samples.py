"""What is measured while the soak goes on: the memory of every process and what Redis keeps."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from redis import Redis

from tests.support.service import Service

_MIB = 2**20
# What a process's command line holds -> what it is called. The first that fits counts.
_ROLES = (
    ("webhooks", "webhooks"),
    ("workers.start graph", "worker"),
    ("-m cli api", "API"),
    ("valkey", "Redis"),
    ("redis-server", "Redis"),
)


@dataclass
class Samples:
    """One column for each quantity, by the seconds since the beginning."""

    seconds: list[float] = field(default_factory=list)
    columns: dict[str, list[float]] = field(default_factory=dict)

    def take(self, seconds: float, service: Service, redis: Redis) -> None:
        """Measure once."""
        self.seconds.append(seconds)
        info = redis.info()
        found = memory_mib(service)
        found |= {"Redis: used_memory (MiB)": info["used_memory"] / _MIB, "Redis: keys": float(redis.dbsize())}
        for name, value in found.items():
            missing = len(self.seconds) - 1 - len(self.columns.setdefault(name, []))
            self.columns[name] += [float("nan")] * missing + [value]

    def rows(self, from_s: float) -> list[str]:
        """Return a table row for each quantity: at the beginning of the part from ``from_s`` on, at its end, slope.

        The slope is that of the least squares in units an hour, with its standard error as if the samples were
        independent of each other.
        """
        at = np.array(self.seconds)
        rows = []
        for name, values in self.columns.items():
            found = np.array(values + [float("nan")] * (len(at) - len(values)))
            chosen = (at >= from_s) & ~np.isnan(found)
            if chosen.sum() < 3:
                rows.append(f"| {name} | it was there for {int(chosen.sum())} samples | | | |")
                continue
            hours = at[chosen] / 3600
            part = found[chosen]
            (slope, _), covariance = np.polyfit(hours, part, 1, cov=True)
            error = float(np.sqrt(covariance[0, 0]))
            rows.append(
                f"| {name} | {part[:8].mean():.1f} | {part[-8:].mean():.1f} | {part.max():.1f} "
                f"| {slope:+.2f} ± {error:.2f} |"
            )
        return rows


def memory_mib(service: Service) -> dict[str, float]:
    """Return the resident memory of each process of the service, by what it is and its number, in MiB."""
    found = {f"serve {service.process.pid} (MiB)": _resident_mib(service.process.pid)}
    for pid, command in service.descendants().items():
        role = next((role for part, role in _ROLES if part in command), os.path.basename(command.split(" ")[0]))
        found[f"{role} {pid} (MiB)"] = _resident_mib(pid)
    return {name: value for name, value in found.items() if value}


def _resident_mib(pid: int) -> float:
    try:
        found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:  # it ended while we looked
        return 0.0
    return int(found[1]) / 1024 if found else 0.0

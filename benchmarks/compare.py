"""``make bench-compare FROM=COMMIT``: the processor time that a request costs this tree's service, against a commit's.

Both services run at once and are measured in turn, so that other load on the machine meets both. Each round sends
requests one after the other and counts the processor time, user and system, of all processes of the service: serve,
the API, Redis, the workers and their children. A round's ratio is this tree's to the commit's. What the service adds to
a request is the client's time less the model's own (Server-Timing). A job is submitted, followed until its end, and its
image fetched.
"""

import argparse
import re
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.commits import Service, check_out, serving, this_tree

_WARM_UP = 10  # requests
_GENERATE = re.compile(r"generate;dur=([\d.]+)")


@dataclass(frozen=True)
class Kind:
    """The requests of a comparison: their steps (None: those of the model), and whether they are made as jobs."""

    steps: int | None
    is_job: bool

    def __str__(self) -> str:
        steps = "the model's" if self.steps is None else str(self.steps)
        return f"{'jobs' if self.is_job else 'blocking'}, {steps} steps"

    def send(self, service: Service, seed: int) -> float:
        """Send a request; return how many milliseconds the service added to it."""
        body: dict[str, Any] = {"prompt": "a red circle on a blue background", "seed": seed}
        if self.steps is not None:
            body["num_inference_steps"] = self.steps
        began = time.perf_counter()
        if self.is_job:
            job = service.http.post("/v3/images/jobs", json=body).raise_for_status().json()["id"]
            answer = service.http.get(f"/v3/images/jobs/{job}/events").raise_for_status()
            service.http.get(f"/v3/images/jobs/{job}/content").raise_for_status()
        else:
            answer = service.http.post("/v3/images/generations", json=body).raise_for_status()
        took_ms = (time.perf_counter() - began) * 1000
        found = _GENERATE.search(answer.headers.get("server-timing", ""))
        return took_ms - (float(found[1]) if found else 0.0)


@dataclass(frozen=True)
class Round:
    """What the requests of a round took: the processor time of one (ms), and what was added to each (ms)."""

    cpu_ms: float
    added_ms: list[float]


def main() -> None:
    """Measure, and print each round and the median ratio in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--from", dest="commit", required=True, help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=12, help="rounds of each service (12)")
    parser.add_argument("--requests", type=int, default=100, help="requests of a round (100)")
    parser.add_argument("--steps", type=int, action="append", help="steps of the requests, several times for several")
    parser.add_argument("--jobs", action="store_true", help="also requests that are made as jobs")
    parser.add_argument("--simulated", action="store_true", help="the simulated engine at 0 s a step: no drawing")
    options = parser.parse_args()
    environment = {}
    if options.simulated:
        environment = {"IMAGEGEN_WORKER__ENGINE": "simulated", "IMAGEGEN_WORKER__SIMULATED_STEP_S": "0"}
    older = check_out(options.commit)
    newer = this_tree()
    kinds = [
        Kind(steps, is_job)
        for steps in options.steps or [None]
        for is_job in ([False, True] if options.jobs else [False])
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with (
            serving(older, folder / "older", environment=environment) as before,
            serving(newer, folder / "newer", environment=environment) as after,
        ):
            for kind in kinds:
                _compare(before, after, older.name, kind, options.rounds, options.requests)


def _compare(before: Service, after: Service, commit: str, kind: Kind, rounds: int, requests: int) -> None:
    for service in (before, after):
        _measure(service, kind, _WARM_UP)
    print(f"\n| processor time of a request (ms), {kind}, {requests} requests a round | {commit} | this tree | ratio |")
    print("|---|---|---|---|", flush=True)
    pairs = []
    for number in range(rounds):
        # The order alternates, so that neither service always runs right after the other.
        if number % 2 == 0:
            old = _measure(before, kind, requests)
            new = _measure(after, kind, requests)
        else:
            new = _measure(after, kind, requests)
            old = _measure(before, kind, requests)
        pairs.append((old, new))
        print(f"| {number + 1} | {old.cpu_ms:.1f} | {new.cpu_ms:.1f} | {new.cpu_ms / old.cpu_ms:.3f} |", flush=True)
    ratios = [new.cpu_ms / old.cpu_ms for old, new in pairs]
    costs = [statistics.median(one.cpu_ms for one in column) for column in zip(*pairs, strict=True)]
    print(f"| median | {costs[0]:.1f} | {costs[1]:.1f} | {statistics.median(ratios):.3f} |")
    added = [[ms for one in column for ms in one.added_ms] for column in zip(*pairs, strict=True)]
    for name, place in (("p50", 49), ("p99", 98)):
        old_ms, new_ms = (statistics.quantiles(times, n=100)[place] for times in added)
        print(f"| added {name} (ms) | {old_ms:.1f} | {new_ms:.1f} | {new_ms / old_ms:.3f} |")
    low, _, high = statistics.quantiles(ratios, n=4) if rounds > 1 else (ratios * 3)
    print(
        f"\nMedian ratio {statistics.median(ratios):.3f} over {rounds} rounds; half of the rounds lie in {low:.3f} to "
        f"{high:.3f}, all of them in {min(ratios):.3f} to {max(ratios):.3f}.",
        flush=True,
    )


def _measure(service: Service, kind: Kind, requests: int) -> Round:
    before = service.cpu_seconds()
    added = [kind.send(service, seed) for seed in range(requests)]
    return Round((service.cpu_seconds() - before) / requests * 1000, added)


if __name__ == "__main__":
    main()

"""``make bench-compare FROM=COMMIT``: the processor time that a request costs this tree's service, against a commit's.

Both services run at once and are measured in turn, so that other load on the machine meets both. Each round sends the
latency benchmark's requests one after the other and counts the processor time, user and system, of all processes of
the service: serve, the API, Redis, the workers and their children. The round's ratio is this tree's to the commit's.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from tools.commits import Service, check_out, serving, this_tree

_WARM_UP = 10  # requests


def main() -> None:
    """Measure, and print each round and the median ratio in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--from", dest="commit", required=True, help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=12, help="rounds of each service (12)")
    parser.add_argument("--requests", type=int, default=100, help="requests of a round (100)")
    parser.add_argument("--simulated", action="store_true", help="the simulated engine at 0 s a step: no drawing")
    options = parser.parse_args()
    environment = {}
    if options.simulated:
        environment = {"IMAGEGEN_WORKER__ENGINE": "simulated", "IMAGEGEN_WORKER__SIMULATED_STEP_S": "0"}
    older = check_out(options.commit)
    newer = this_tree()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with (
            serving(older, folder / "older", environment=environment) as before,
            serving(newer, folder / "newer", environment=environment) as after,
        ):
            _compare(before, after, older.name, options.rounds, options.requests)


def _compare(before: Service, after: Service, commit: str, rounds: int, requests: int) -> None:
    for service in (before, after):
        _measure(service, _WARM_UP)
    print(f"| processor time of a request (ms), {requests} requests a round | {commit} | this tree | ratio |")
    print("|---|---|---|---|", flush=True)
    figures = []
    for number in range(rounds):
        # The order alternates, so that neither service always runs right after the other.
        if number % 2 == 0:
            old = _measure(before, requests)
            new = _measure(after, requests)
        else:
            new = _measure(after, requests)
            old = _measure(before, requests)
        figures.append((old, new, new / old))
        print(f"| {number + 1} | {old:.1f} | {new:.1f} | {new / old:.3f} |", flush=True)
    old, new, ratio = (statistics.median(column) for column in zip(*figures, strict=True))
    print(f"| median | {old:.1f} | {new:.1f} | {ratio:.3f} |\n")
    ratios = [figure[2] for figure in figures]
    low, _, high = statistics.quantiles(ratios, n=4) if rounds > 1 else (ratios * 3)
    print(
        f"Median ratio {ratio:.3f} over {rounds} rounds; half of the rounds lie in {low:.3f} to {high:.3f}, "
        f"all of them in {min(ratios):.3f} to {max(ratios):.3f}."
    )


def _measure(service: Service, requests: int) -> float:
    """Return the processor time of one request in milliseconds, the mean of ``requests``."""
    before = service.cpu_seconds()
    for seed in range(requests):
        body = {"prompt": "a red circle on a blue background", "seed": seed}
        service.http.post("/v3/images/generations", json=body).raise_for_status()
    return (service.cpu_seconds() - before) / requests * 1000


if __name__ == "__main__":
    main()

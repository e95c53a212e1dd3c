"""``python -m benchmarks.soak``: a service under mixed load for a long time: does any process or Redis grow?

Three API keys ask in every way there is, together at a given share of what the worker can draw. The table has the
memory of every process and the keys in Redis; the slopes are those of the last two thirds of the time.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from redis import Redis

from benchmarks.machine import machine
from benchmarks.soak.load import KINDS, KeyLoad, Seen
from benchmarks.soak.samples import Samples
from cli.local.embedded_redis import prepared_url
from tests.support.polling import pause
from tests.support.service import Service, serving

_KEYS = ("soak-key-one", "soak-key-two", "soak-key-three")
_SAMPLE_EVERY_S = 10.0
# Images and records of ended jobs go after these times, so that what Redis keeps is in balance before the part that
# is judged.
_TTLS_S = {"IMAGEGEN_JOBS__RESULT_TTL_S": "180", "IMAGEGEN_JOBS__RECORD_TTL_S": "300"}
_ROUNDS = 3


def main() -> None:
    """Serve the bundled model, ask for so long, and print what was seen."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=45.0, help="how long (default: 45)")
    parser.add_argument("--share", type=float, default=0.5, help="of what the worker can draw (default: 0.5)")
    given = parser.parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        keys.write_text("\n".join(_KEYS))
        keys.chmod(0o600)
        with serving(Path(folder), "--api_key_file", str(keys), environment=_TTLS_S) as service:
            _soak(service, Path(folder) / "data", given.minutes * 60, given.share)


def _soak(service: Service, data_dir: Path, length_s: float, share: float) -> None:
    seen = Seen()
    mean_s = _mean_s(service.url)
    rate_per_s = share / mean_s
    print(f"one request after the other takes {mean_s:.2f} s; asked for: {rate_per_s:.2f} a second", flush=True)
    loads = [KeyLoad(service.url, key, rate_per_s / len(_KEYS), seed, seen) for seed, key in enumerate(_KEYS)]
    samples = Samples()
    began = time.monotonic()
    with Redis.from_url(prepared_url(data_dir) or "") as redis:
        for load in loads:
            load.start()
        while (seconds := time.monotonic() - began) < length_s:
            samples.take(seconds, service, redis)
            pause(_SAMPLE_EVERY_S)
        _report(samples, seen, length_s, began)
    for load in loads:
        load.end()
    print(f"in the end: {sum(seen.kinds.values())} requests as expected, {len(seen.unexpected)} not", flush=True)


def _mean_s(url: str) -> float:
    """Return how long a request of the mixture takes when nothing else is asked, in seconds."""
    load = KeyLoad(url, _KEYS[0], 1.0, 0, Seen())
    for kind in KINDS:  # the first of each size compiles
        load.ask(kind, 1)
    return statistics.mean(load.ask(kind, seed) for seed in range(_ROUNDS) for kind in KINDS)


def _report(samples: Samples, seen: Seen, length_s: float, began: float) -> None:
    quantiles = statistics.quantiles((seconds for seconds, _, _ in seen.seconds), n=100)
    print(
        f"{sum(seen.kinds.values())} requests as expected, {len(seen.unexpected)} not; seconds p50 "
        f"{quantiles[49]:.2f}, p99 {quantiles[98]:.2f}: {dict(seen.kinds)}"
    )
    slowest = sorted(seen.seconds, reverse=True)[:5]
    print(
        "slowest:", ", ".join(f"{kind} {seconds:.1f} s, ended at {at - began:.0f} s" for seconds, kind, at in slowest)
    )
    for line in seen.unexpected[:20]:
        print(f"not expected: {line}")
    print(f"\n| {length_s / 60:.0f} minutes | after a third | at the end | maximum since | slope an hour |")
    print("|---|---|---|---|---|")
    print("\n".join(samples.rows(length_s / 3)))


if __name__ == "__main__":
    main()

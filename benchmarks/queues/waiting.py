"""A thousand clients wait at once in one API process: whether each gets its image, and what waiting costs.

The engine is simulated (100 ms a job), so that the cores are free for the API.
"""

import asyncio
import http.client
import re
import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.queues.workers import more_workers
from benchmarks.wire import allow_many_connections, ask
from tests.support.polling import wait_until
from tests.support.service import Service, serving

_CLIENTS = 1000
_WORKERS = 8
_STEPS = 2
_STEP_S = 0.05
_ENVIRONMENT = {
    "IMAGEGEN_WORKER__ENGINE": "simulated",
    "IMAGEGEN_WORKER__SIMULATED_STEP_S": str(_STEP_S),
    "IMAGEGEN_JOBS__MAX_QUEUED": str(2 * _CLIENTS),
    "IMAGEGEN_LOG__LEVEL": "WARNING",
}
_PROBE_EVERY_S = 0.02


def many_waiting(folder: Path, _: int) -> list[str]:
    """Return table rows: errors, memory and seconds for all requests, and the probe's times."""
    allow_many_connections(_CLIENTS)
    with serving(folder, environment=_ENVIRONMENT) as service, more_workers(folder, _WORKERS - 1, _ENVIRONMENT):
        outcomes, seconds, idle, peak, probes = _measure(service, folder)
    wrong = Counter(why for why in outcomes if why)
    cuts = statistics.quantiles(probes, n=100)
    ideal = _CLIENTS * _STEPS * _STEP_S / _WORKERS
    return [
        f"| {_CLIENTS} blocking requests at once, {_WORKERS} workers, {_STEPS * _STEP_S * 1000:.0f} ms a job | |",
        "|---|---|",
        f"| requests that failed | {', '.join(f'{count} x {why}' for why, count in wrong.items()) or 0} |",
        f"| seconds until all had their image (ideal {ideal:.1f}) | {seconds:.1f} |",
        f"| API's memory before, at most (MiB) | {idle / 2**20:.0f}, {peak / 2**20:.0f} |",
        f"| memory per waiting request (KiB) | {(peak - idle) / _CLIENTS / 1024:.0f} |",
        f"| /v2/health/live meanwhile, p50 (ms) | {cuts[49]:.1f} |",
        f"| /v2/health/live meanwhile, p99 (ms) | {cuts[98]:.1f} |",
        f"| /v2/health/live meanwhile, slowest of {len(probes)} (ms) | {max(probes):.1f} |",
    ]


def _measure(service: Service, folder: Path) -> tuple[list[str], float, int, int, list[float]]:
    (api,) = (pid for pid, command in service.descendants().items() if command.endswith("-m cli api "))
    asyncio.run(_all_at_once(service.url, _WORKERS))
    idle = _memory(api)
    stop = folder / "stop"
    # The probe has a process of its own, so that it does not wait for the event loop of the clients.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        probing = pool.submit(probe, service.url, stop)
        wait_until((folder / "stop.started").exists, "the probe runs")
        peaks, watching = _watch_memory(api)
        started = time.perf_counter()
        outcomes = asyncio.run(_all_at_once(service.url, _CLIENTS))
        seconds = time.perf_counter() - started
        watching.set()
        stop.touch()
        return outcomes, seconds, idle, max(peaks), probing.result()


async def _all_at_once(url: str, count: int) -> list[str]:
    body = {"prompt": "a red circle", "num_inference_steps": _STEPS}
    requests = [_outcome(f"{url}/v3/images/generations", {**body, "seed": number}) for number in range(count)]
    return await asyncio.gather(*requests)


async def _outcome(url: str, body: dict[str, object]) -> str:
    """Return what went wrong with a request, or an empty string."""
    try:
        status, content = await ask(url, body)
    except (OSError, IndexError, ValueError) as error:
        return repr(error)
    return "" if status == 200 and b"b64_json" in content else f"{status} {content[:100]!r}"


def probe(url: str, stop: Path) -> list[float]:
    """Send the liveness probe repeatedly until the file ``stop`` exists; return its times in milliseconds."""
    parts = urlsplit(url)
    pause = threading.Event()
    taken: list[float] = []
    stop.with_suffix(".started").touch()
    while not stop.exists():
        connection = http.client.HTTPConnection(parts.netloc, timeout=60)
        started = time.perf_counter()
        connection.request("GET", "/v2/health/live")
        assert connection.getresponse().status == 200
        taken.append((time.perf_counter() - started) * 1000)
        connection.close()
        pause.wait(_PROBE_EVERY_S)
    return taken


def _watch_memory(pid: int) -> tuple[list[int], threading.Event]:
    seen = [0]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            seen.append(_memory(pid))

    threading.Thread(target=watch, daemon=True).start()
    return seen, stop


def _memory(pid: int) -> int:
    """Return a process's resident memory in bytes."""
    (kib,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(kib) * 1024

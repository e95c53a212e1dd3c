"""The honest clients that run beside an attack, and the figures of the API process meanwhile."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from openai import OpenAI

from tests.support.polling import wait_until
from tests.support.service import Service

# A health probe waits for so long; one that gets no answer in this time fails the test. It is no measure of speed, as
# other tests take the processor's time too.
HEALTH_S = 5.0
# The API's own parts, allocator and simulated answers vary by less than this.
MEMORY_BYTES = 160 * 2**20
_PAUSE_S = 0.05


@dataclass
class Record:
    """What the honest clients saw while an attack ran. Memory is that of the API process, in bytes."""

    images: int = 0
    health_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    memory_before: int = 0
    memory_at_most: int = 0
    memory_after: int = 0

    def __str__(self) -> str:
        memory = [f"{size / 2**20:.0f}" for size in (self.memory_before, self.memory_at_most, self.memory_after)]
        return (
            f"{self.images} images, {len(self.health_s)} health probes, the slowest {max(self.health_s):.3f} s; "
            f"memory of the API before, at most, after: {', '.join(memory)} MiB"
        )


@contextmanager
def honest_clients(
    service: Service,
    key: str = "unused",
    memory_bytes: int = MEMORY_BYTES,
    *,
    image: bytes | None = None,
    retries: int = 0,
) -> Iterator[Record]:
    """Draw images with the OpenAI client, or edit ``image``, and probe health, until the block ends.

    ``retries``: how often they send a request again whose connection was closed. At the bound of connections, more new
    ones than the bound may come at once, and displace one whose request has not been read yet.
    Afterwards every request of theirs must have been answered, and the API's memory may have grown by ``memory_bytes``.
    """
    pid = api_pid(service)
    record = Record(memory_before=_memory(pid, "VmRSS"))
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM begins anew (proc_pid_clear_refs(5))
    over = threading.Event()
    threads = [
        threading.Thread(target=_draw, args=(service, key, over, record, image, retries)),
        threading.Thread(target=_probe, args=(service, over, record, retries)),
    ]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: record.failures or (record.images and record.health_s), "the honest clients are there")
        yield record
        drawn, probed = record.images, len(record.health_s)
        wait_until(
            lambda: record.failures or (record.images > drawn and len(record.health_s) > probed),
            "another image and another health probe",
        )
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
    record.memory_at_most = _memory(pid, "VmHWM")
    record.memory_after = _memory(pid, "VmRSS")
    print(record)
    assert record.failures == [], record
    assert record.images > 0
    assert record.memory_at_most < record.memory_before + memory_bytes, record
    assert api_pid(service) == pid, "the API was started again"


def api_pid(service: Service) -> int:
    """Return the process id of the service's API."""
    return next(pid for pid, command in service.descendants().items() if re.search(r"-m cli api", command))


def refused(service: Service, reason: str, key: str = "unused") -> float:
    """Return how many connections the API has refused for a reason."""
    page = httpx2.get(f"{service.url}/metrics", headers={"Authorization": f"Bearer {key}"}).text
    found = re.search(rf'^imagegen_connections_refused_total{{reason="{reason}"}} (\S+)$', page, re.MULTILINE)
    assert found is not None, page
    return float(found[1])


def _draw(service: Service, key: str, over: threading.Event, record: Record, image: bytes | None, retries: int) -> None:
    seed = 0
    with OpenAI(base_url=f"{service.url}/v3", api_key=key, max_retries=retries) as client:
        while not over.is_set():
            try:
                wanted: Any = {"prompt": "a red circle", "size": "32x32", "extra_body": {"seed": seed}}
                answer = client.images.edit(image=image, **wanted) if image else client.images.generate(**wanted)
                assert answer.data
                assert answer.data[0].b64_json
                record.images += 1
            except Exception as error:  # noqa: BLE001 - the test fails with it
                record.failures.append(f"image: {error!r}")
                return
            seed += 1
            over.wait(_PAUSE_S)


def _probe(service: Service, over: threading.Event, record: Record, retries: int) -> None:
    left = retries
    with httpx2.Client(base_url=service.url, timeout=HEALTH_S) as client:
        while not over.is_set():
            began = time.monotonic()
            try:
                client.get("/v2/health/live").raise_for_status()
            except httpx2.HTTPError as error:
                if left and isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError):
                    left -= 1
                    continue
                record.failures.append(f"health: {error!r}")
                return
            left = retries
            record.health_s.append(time.monotonic() - began)
            over.wait(_PAUSE_S)


def _memory(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024

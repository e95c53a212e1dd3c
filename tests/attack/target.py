"""What is attacked: a service with the keys of three honest clients and one attacker's, and little room in Redis."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.service import Service, serving, write_graph

# The first key of the file is an administrator's; the clients here have others.
ADMIN = "admin-key"
HONEST = ("honest-1", "honest-2", "honest-3")
ATTACKER = "attacker-key"
REDIS_BYTES = 256 * 2**20
OPTIONS = 'max_resolution: "512x512" default_resolution: "64x64" max_num_images_per_prompt: 2'
STEPS = 2


@contextmanager
def attacked_service(folder: Path, engine: str) -> Iterator[Service]:
    """Serve the bundled model, by OpenVINO or by the simulated engine, until the block ends."""
    model = write_graph(folder / "demo", steps=STEPS, more=OPTIONS)
    keys = folder / "keys"
    keys.write_text("".join(f"{key}\n" for key in (ADMIN, *HONEST, ATTACKER)))
    keys.chmod(0o600)
    environment = {
        "IMAGEGEN_WORKER__ENGINE": engine,
        "IMAGEGEN_WORKER__SIMULATED_STEP_S": "0.02",
        "IMAGEGEN_DOWNLOADS__OFFLINE": "true",
        "IMAGEGEN_REDIS__MAX_MEMORY_BYTES": str(REDIS_BYTES),
        "IMAGEGEN_WEBHOOKS__SECRET": "a-secret-of-this-test-only",
    }
    with serving(folder, "--model_path", str(model), "--api_key_file", str(keys), environment=environment) as service:
        yield service


def memory_bytes(service: Service) -> dict[str, int]:
    """Return the resident memory of the service's processes by what they are; equal ones are added up."""
    found: dict[str, int] = {}
    for pid, command in {**service.descendants(), service.process.pid: "serve"}.items():
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:  # it has ended
            continue
        resident = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        if resident is not None:
            name = _name(command)
            found[name] = found.get(name, 0) + int(resident[1]) * 1024
    return found


def _name(command: str) -> str:
    for word, name in {"redis": "Redis", "valkey": "Redis", "workers.start": "worker", "cli api": "API"}.items():
        if word in command:
            return name
    return "others"

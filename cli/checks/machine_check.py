"""Checks of this machine: models, devices, CPUs, disk, temporary files, the API's port."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from cli.checks.finding import Finding, note, ok, wrong
from cli.errors import UserError
from cli.local.api_address import base_url, close, listen
from cli.local.child_environment import child_environment
from cli.local.data_folder import require_shared_memory, require_temporary_folder
from cli.options import repository_from
from config.http_settings import HttpSettings
from config.machine_cpus import machine_cpus
from config.settings import Settings
from graphs.definition.devices import device_shown, with_stand_ins
from graphs.definition.graph import Graph
from graphs.errors import ConfigurationError
from graphs.repository.configuration import check_worker_device
from graphs.repository.model_files import with_loadable_models
from graphs.repository.served_facts import served_digest

LEAST_FREE_BYTES = 2**30
_DEVICES_TIMEOUT_S = 60
_HEALTH_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class ModelsReport:
    """The findings about the models, the graphs that can be served, and the digests of their models."""

    findings: list[Finding]
    graphs: dict[str, Graph]
    digests: dict[str, str] = field(default_factory=dict)


def check_models(settings: Settings) -> ModelsReport:
    """Check that every graph of these settings can be read, and that a worker finds what it needs of its model."""
    remedy = "Mend it; `imagegen validate PATH` says again what is wrong."
    try:
        repository = with_loadable_models(repository_from(settings))
    except ConfigurationError as error:
        return ModelsReport([wrong("models", error.message, remedy)], {})
    findings = [wrong("models", f"{name}: {sentence}", remedy) for name, sentence in repository.failed.items()]
    if repository.graphs:
        findings.append(ok("models", f"Can be served: {', '.join(repository.graphs)}."))
    else:
        findings.append(note("models", "No model is configured.", "List one in config.json."))
    digests = {name: served_digest(repository, name) for name in repository.graphs}
    return ModelsReport(findings, repository.graphs, digests)


def check_devices(settings: Settings, graphs: dict[str, Graph], served: Collection[str] = ()) -> list[Finding]:
    """Check, in a process of its own, that OpenVINO finds the devices of the graphs.

    A missing device is only a note for a graph in ``served``: its workers run on other machines.
    """
    stand_ins = settings.worker.stand_ins
    wanted = {name: with_stand_ins(_devices(settings, graph), stand_ins) for name, graph in graphs.items()}
    command = [sys.executable, "-P", "-m", "workers.engine.devices", *sorted({d for ds in wanted.values() for d in ds})]
    try:
        done = subprocess.run(
            command, env=child_environment(settings), capture_output=True, text=True, timeout=_DEVICES_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        message = f"OpenVINO did not list its devices within {_DEVICES_TIMEOUT_S} s."
        return [wrong("devices", message, "A driver hangs: see the kernel's log (dmesg).")]
    if done.returncode != 0:
        return [_no_answer(done.stderr)]
    found = json.loads(done.stdout)
    available = ", ".join(found["available"]) or "none"
    findings = _device_misfits(settings, [graph for name, graph in graphs.items() if name not in served])
    for name, devices in wanted.items():
        if missing := [device for device in devices if device in found["missing"]]:
            findings.append(_missing(name, " ".join(missing), available, is_served=name in served))
    found_all = findings or [ok("devices", f"OpenVINO finds {available}.")]
    return [*found_all, *([_mapped(settings, graphs)] if stand_ins else [])]


def _devices(settings: Settings, graph: Graph) -> tuple[str, ...]:
    return tuple(settings.worker.device.split()) if settings.worker.device else graph.device


def _device_misfits(settings: Settings, graphs: Collection[Graph]) -> list[Finding]:
    """Return a finding for each graph that cannot be served on the workers' own device."""
    findings = []
    for graph in graphs:
        try:
            if settings.worker.device:
                check_worker_device(graph, settings.worker.device)
        except ConfigurationError as error:
            findings.append(wrong("devices", error.message, "Give a device that goes with the graph."))
    return findings


def _mapped(settings: Settings, graphs: dict[str, Graph]) -> Finding:
    shown = (f"{graph.name} on {_shown_on(settings, graph)}" for graph in graphs.values())
    message = f"IMAGEGEN_WORKER__DEVICE_MAP is {settings.worker.device_map}: {', '.join(shown)}."
    return note("devices", message, "Unset it, except for tests and demos.")


def _shown_on(settings: Settings, graph: Graph) -> str:
    return device_shown(_devices(settings, graph), settings.worker.stand_ins)


def _missing(graph: str, devices: str, available: str, *, is_served: bool) -> Finding:
    message = f"{graph} wants {devices}; OpenVINO finds {available} here."
    if is_served:
        return note("devices", f"{message} Its workers run elsewhere.")
    remedy = "Install the device's driver, let this user at it (group render), or give a device that is there."
    return wrong("devices", message, remedy)


def _no_answer(stderr: str) -> Finding:
    last = (stderr.strip().splitlines() or ["it ended without a message"])[-1]
    if "ModuleNotFoundError" in last:
        return note("devices", "OpenVINO is not installed here: only workers need it.")
    return wrong("devices", f"OpenVINO cannot be used: {last}", "Install the worker's packages again.")


def check_cpus() -> Finding:
    """Say how many CPUs this process may use, and what limits them: a service in another cgroup may have others."""
    return ok("cpus", machine_cpus().sentence())


def check_disk(folder: Path, least_free_bytes: int = LEAST_FREE_BYTES) -> Finding:
    """Check the disk of a data folder, which may not exist yet."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return wrong("disk", f"{existing} cannot be written to.", "Give another folder with --data_dir.")
    free = shutil.disk_usage(existing).free
    message = f"{free / 2**30:.1f} GiB are free for {folder}."
    if free < least_free_bytes:
        remedy = "Make room, or give another folder with --data_dir: a full disk stops Redis."
        return wrong("disk", message, remedy)
    return ok("disk", message)


def check_port(http: HttpSettings, timeout_s: float = _HEALTH_TIMEOUT_S) -> Finding:
    """Check that the API runs at its address, or that the address is free."""
    url = base_url(http)
    if _is_api(url, timeout_s):
        return ok("api", f"It answers at {url}.")
    try:
        close(listen(http))
    except UserError as error:
        return _from_error("api", error)
    return note("api", f"No API runs at {url}; its port is free.", "Start `imagegen serve`, or `imagegen api`.")


def check_temporary() -> list[Finding]:
    """Check the folder for temporary files, and the shared memory that workers need."""
    found = []
    for check in (require_temporary_folder, require_shared_memory):
        try:
            check()
        except UserError as error:
            found.append(_from_error("tmp", error))
    return found or [ok("tmp", f"{tempfile.gettempdir()} and /dev/shm can be written.")]


def _from_error(area: str, error: UserError) -> Finding:
    """Return the finding of an error whose remedy stands after its last semicolon."""
    sentence, _, remedy = str(error).rstrip(".").rpartition("; ")
    message = sentence or remedy
    return wrong(area, f"{message[0].upper()}{message[1:]}.", f"{remedy[0].upper()}{remedy[1:]}.")


def _is_api(url: str, timeout_s: float) -> bool:
    try:
        # trust_env: a request to this machine must not go through a proxy.
        answer = httpx2.get(f"{url}/v2/health/live", timeout=timeout_s, trust_env=False)
        return bool(answer.json() == {"status": "live"})
    except (httpx2.HTTPError, ValueError, RecursionError):
        return False

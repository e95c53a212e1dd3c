"""Runs ``imagegen serve`` of any commit of this repository, with its own code and the packages of its own lock file."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx2

ROOT = Path(__file__).parents[1]
_CACHE = ROOT / "build" / "commits"
_LOCK = "requirements.lock"
_READY_S = 120.0
_STOP_S = 120.0
_POLL_S = 0.05
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Tree:
    """The code of a commit (``name``) in ``folder``, and the Python whose packages its lock file names."""

    name: str
    folder: Path
    python: Path

    def environment(self) -> dict[str, str]:
        """Return the environment variables that let ``python`` and its children import this tree's packages."""
        return {**os.environ, "PYTHONPATH": str(self.folder)}


class Service:
    """A running ``imagegen serve``."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
        self.url = url
        self.http = httpx2.Client(base_url=url, timeout=60)
        self._process = process
        self._log = log

    def wait_until_ready(self) -> None:
        """Wait until a model is loaded. Raises RuntimeError when serve ends before, or after two minutes."""
        end = time.monotonic() + _READY_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            try:
                if self.http.get("/v2/health/ready").status_code == 200:
                    return
            except httpx2.TransportError:
                pass  # it does not listen yet
            time.sleep(_POLL_S)
        raise RuntimeError(f"imagegen serve did not become ready:\n{self._log.read_text()[-4000:]}")

    def stop(self) -> int:
        """Stop serve and all of its processes as an operator does; return its exit code."""
        self.http.close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_STOP_S)

    def cpu_seconds(self) -> float:
        """Return the processor time, user and system, of serve, the API, Redis, the workers and their ended children.

        An ended child is counted once its parent has waited for it (proc(5), ``cutime`` and ``cstime``).
        """
        used = _read_times()
        group = {self._process.pid}
        while found := {pid for pid, (parent, _) in used.items() if parent in group} - group:
            group |= found
        return sum(used[pid][1] for pid in group if pid in used)


def this_tree() -> Tree:
    """Return the working tree that this program is part of, with the Python that runs it."""
    return Tree("this tree", ROOT, Path(sys.executable))


def check_out(commit: str) -> Tree:
    """Return the tree of a commit, kept under build/commits for the next time.

    Where the commit's lock file is the same as this tree's, this Python has the right packages already. Otherwise an
    environment is made from that lock file. Raises ValueError for a commit that is not in this clone.
    """
    found = subprocess.run(["git", "rev-parse", "--verify", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True)
    if found.returncode:
        raise ValueError(f"This clone has no commit {commit!r}.")
    name = found.stdout.decode().strip()[:12]
    folder = _CACHE / name
    if not folder.exists():
        archive = subprocess.run(["git", "archive", name], cwd=ROOT, capture_output=True, check=True).stdout
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(unfinished, filter="data")
        unfinished.rename(folder)
    return Tree(name, folder, _python_for(folder))


@contextmanager
def serving(tree: Tree, folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Run a tree's ``imagegen serve`` with its data in ``folder`` until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "serve.log"
    port = _free_port()
    command = [str(tree.python), "-m", "cli", "serve", "--rest_port", str(port), "--data_dir", str(folder / "data")]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, *options],
            cwd=tree.folder,
            env={**tree.environment(), **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    service = Service(process, f"http://127.0.0.1:{port}", log)
    try:
        service.wait_until_ready()
        yield service
    finally:
        service.stop()


def _python_for(folder: Path) -> Path:
    if (folder / _LOCK).read_bytes() == (ROOT / _LOCK).read_bytes():
        return Path(sys.executable)
    python = folder / ".venv" / "bin" / "python"
    installed = folder / ".venv" / ".installed"
    if not installed.exists():
        print(f"Installing {folder.name}'s {_LOCK} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / ".venv")], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*install, "-r", str(folder / _LOCK)], check=True)
        installed.touch()
    return python


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _read_times() -> dict[int, tuple[int, float]]:
    """Return each process's parent and the seconds of processor time that it and its ended children have used."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # the process ended
        # proc(5) counts from 1 and begins with the two fields cut off here: ppid is 4, utime to cstime are 14 to 17.
        found[int(folder.name)] = (int(fields[1]), sum(map(int, fields[11:15])) / _TICKS_PER_SECOND)
    return found

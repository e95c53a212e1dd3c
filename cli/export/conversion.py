"""Runs the conversion in a process of its own, bounded in memory, and puts the model in its place at the end."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cli.errors import UserError
from cli.export.compression import Compression
from cli.export.source import ExportSource
from cli.local.child_environment import PROJECT_ROOT
from config.environment import foreign_environment
from config.machine_memory import resident_bytes

_GIB = 2**30
_SHIM = PROJECT_ROOT / "cli" / "local" / "tied_process.py"
# A disk with less is full: libraries do not say so in words of their own.
_FULL_BYTES = 2**20
_LOOK_EVERY_S = 0.2
_LINES_KEPT = 20
# What libraries alone take, and what an activation of the proof may.
_FIXED_BYTES = int(1.5 * _GIB)
_BYTES_PER_PARAMETER = {"fp32": 4.0, "fp16": 2.0, "int8": 1.02, "int4": 0.7}


@dataclass(frozen=True)
class ExportPlan:
    """The source of an export, its result's folder and compression, and the bound of its memory in bytes.

    ``model`` is what the report calls the source.
    """

    source: ExportSource
    target: Path
    compression: Compression
    memory_limit_bytes: int
    model: str

    @property
    def stage(self) -> Path:
        """The hidden folder beside the target in which finished parts stay until all are there."""
        return self.target.with_name(f".{self.target.name}.export")

    @property
    def memory_bytes(self) -> int:
        """The memory that it is estimated to take: all parts in f32, and the largest one three times more."""
        return _FIXED_BYTES + 4 * self.source.total + 12 * self.source.largest

    @property
    def disk_bytes(self) -> int:
        """The room that it is estimated to take: the model, and its largest part once more in f32."""
        own = _BYTES_PER_PARAMETER[self.compression.weight_format]
        return int(own * self.source.total + 4 * self.source.largest)

    def check(self) -> None:
        """Raise UserError where the machine has too little of something."""
        self.check_memory()
        free_bytes = shutil.disk_usage(_existing(self.target)).free
        if self.disk_bytes > free_bytes:
            raise UserError(
                f"the model takes about {self.disk_bytes / _GIB:.1f} GiB on the disk, and {self.target.parent} has "
                f"{free_bytes / _GIB:.1f} free; make room, or choose another folder."
            )

    def check_memory(self) -> None:
        """Raise UserError where the conversion may not take the memory that it needs."""
        if self.memory_bytes > self.memory_limit_bytes:
            raise UserError(
                f"the conversion takes about {self.memory_bytes / _GIB:.1f} GiB of memory, and it may take "
                f"{self.memory_limit_bytes / _GIB:.1f}; take a machine with more, or raise --memory_limit_gib of "
                "`imagegen export`."
            )


def convert(python: Path, plan: ExportPlan, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Convert all parts that are not finished yet into ``plan.stage``; ``tell`` gets each event of the converter.

    Returns the converter's last event: the proofs of the parts, and the versions. Raises UserError.
    """
    plan.stage.mkdir(parents=True, exist_ok=True)
    written = plan.stage / ".plan.json"
    _check_same_plan(written, plan)
    return _converted(python, plan, written, tell)


@contextmanager
def held(stage: Path) -> Iterator[None]:
    """Make the folder of the parts, and hold it: two exports into it at once would spoil it for each other.

    Raises UserError where another one holds it.
    """
    stage.mkdir(parents=True, exist_ok=True)
    lock = stage / ".lock"
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another export is writing into {stage}; wait for its end.") from None
        yield


def _converted(python: Path, plan: ExportPlan, written: Path, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    with subprocess.Popen(
        # The kernel ends it with this process: what is left of it would write into the folder of the next attempt.
        [sys.executable, "-I", "-S", str(_SHIM), str(os.getpid()), str(python), "-m", "tools.exporter", str(written)],
        cwd=PROJECT_ROOT,
        # Unbuffered: what the libraries of a conversion that is killed said last is part of the error.
        env=foreign_environment()
        | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        guard = _MemoryGuard(process, plan.memory_limit_bytes)
        guard.start()
        try:
            last, lines = _followed(process, tell)
        finally:
            guard.stop()
            if process.poll() is None:
                process.kill()
    if guard.has_ended_it:
        raise UserError(
            f"the conversion was ended: it took more than {plan.memory_limit_bytes / _GIB:.1f} GiB of memory. Take a "
            "machine with more, or raise --memory_limit_gib of `imagegen export`, and run the command again: finished "
            "parts stay."
        )
    if "done" not in last and shutil.disk_usage(plan.stage).free < _FULL_BYTES:
        raise UserError(
            f"the disk of {plan.stage.parent} is full; make room, and run the command again: finished parts stay."
        )
    if "error" in last:
        raise UserError(str(last["error"]))
    if process.returncode or "done" not in last:
        raise UserError("the conversion failed: " + " | ".join(lines[-_LINES_KEPT:]))
    return last


def _check_same_plan(written: Path, plan: ExportPlan) -> None:
    """Write the plan; parts that were made by another one are removed."""
    content = json.dumps(
        {
            "source": str(plan.source.path),
            "single_file": plan.source.single_file,
            "model": plan.model,
            "output": str(plan.stage),
            "compression": asdict(plan.compression),
            "parameters": plan.source.parameters,
        }
    )
    if written.exists() and written.read_text(encoding="utf-8") != content:
        for old in plan.stage.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
            elif old.name != ".lock":
                old.unlink()
    written.write_text(content, encoding="utf-8")


def _followed(
    process: "subprocess.Popen[str]", tell: Callable[[dict[str, Any]], None]
) -> tuple[dict[str, Any], list[str]]:
    """Return the last event, and the other lines."""
    last: dict[str, Any] = {}
    lines: list[str] = []
    for line in process.stdout or ():
        if (event := _event(line)) is None:
            lines.append(line.strip())
        else:
            last = event
            tell(event)
    process.wait()
    return last, [line for line in lines if line]


def _event(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class _MemoryGuard(threading.Thread):
    """Ends a process that takes more than its bound."""

    def __init__(self, process: "subprocess.Popen[str]", limit_bytes: int) -> None:
        super().__init__(name="memory of the conversion", daemon=True)
        self.has_ended_it = False
        self._process = process
        self._limit_bytes = limit_bytes
        self._stopping = threading.Event()

    def run(self) -> None:
        """Look until ``stop``."""
        while not self._stopping.wait(_LOOK_EVERY_S):
            try:
                taken = resident_bytes(self._process.pid)
            except (OSError, ValueError):  # it has just ended
                return
            if taken > self._limit_bytes:
                self.has_ended_it = True
                self._process.kill()
                return

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self.join()


def appear(plan: ExportPlan, *, overwrite: bool) -> None:
    """Move the finished model to its place."""
    for name in (".plan.json", ".lock", *(f"{part.name}/proof.json" for part in _folders(plan.stage))):
        (plan.stage / name).unlink(missing_ok=True)
    if overwrite and plan.target.exists():
        shutil.rmtree(plan.target)
    os.replace(plan.stage, plan.target)


def _folders(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_dir())


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())

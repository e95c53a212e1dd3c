"""The environment with PyTorch in which models are converted; the service itself never has PyTorch."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cli.errors import UserError
from cli.local.child_environment import PROJECT_ROOT
from cli.terminal import say

_TOOLS = PROJECT_ROOT / "tools"
_SCRIPT = _TOOLS / "torch_environment.sh"
_LOCK = _TOOLS / "exporter" / "requirements.lock"
_LOCKS = (_LOCK, _TOOLS / "torch-cpu.lock", _TOOLS / "torch-cuda.lock")
_DIGITS = 12
_GIB = 2**30
# Without CUDA it takes 1.6 GiB, and pip needs as much again while it works. With CUDA it takes 5.6; that this is so is
# known only while pip installs, which then says that the disk is full.
_NEEDED_BYTES = 4 * _GIB


def environment_folder(data_dir: Path) -> Path:
    """Return the folder of the environment; another one where its locked libraries are others."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in _LOCKS)).hexdigest()[:_DIGITS]
    return data_dir / "export-environment" / digest


def bytes_to_install(data_dir: Path) -> int:
    """Return the room that the environment needs: none where it is there."""
    return 0 if environment_folder(data_dir).exists() else _NEEDED_BYTES


def exporter_python(data_dir: Path) -> Path:
    """Return the Python of the environment, which is prepared in the data folder unless it is there.

    Raises UserError where it cannot be prepared.
    """
    folder = environment_folder(data_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two exports at once prepare it once
        if not folder.exists():
            _prepare(folder)
    return folder / "bin" / "python"


def _prepare(folder: Path) -> None:
    free_bytes = shutil.disk_usage(folder.parent).free
    if free_bytes < _NEEDED_BYTES:
        raise UserError(
            f"the environment with PyTorch needs {_NEEDED_BYTES / _GIB:.0f} GiB, and {folder.parent} has "
            f"{free_bytes / _GIB:.1f} free; make room, or choose another --data_dir."
        )
    say(f"preparing an environment with PyTorch in {folder}: once, some minutes, 1.6 GiB (more with CUDA)", err=True)
    partial = folder.with_name(f".{folder.name}.partial")
    done = subprocess.run(
        ["/bin/sh", str(_SCRIPT), sys.executable, str(partial), str(_LOCK)], stdout=subprocess.DEVNULL, text=True
    )
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError("the environment with PyTorch could not be installed; pip's lines above say why.")
    os.replace(partial, folder)

"""A script that becomes a command which the kernel kills when the process that started it ends.

Usage: ``python -I -S tied_process.py PARENT_PID COMMAND [ARGUMENT ...]``, with COMMAND an absolute path. So a killed
``imagegen serve`` leaves no process behind that still holds its data. It uses prctl(2) with PR_SET_PDEATHSIG, which
only Linux has; elsewhere the command simply runs. As a script of its own it needs no code between fork and exec.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel to kill this process when its parent ends, then become the command."""
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before the call of prctl
        sys.exit(1)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606


if __name__ == "__main__":
    main()

"""A script that becomes a command which the kernel kills when the process that started it ends.

Usage: ``python -I -S tied_process.py PARENT_PID [--without=SIGNAL,...] COMMAND [ARGUMENT ...]``, with COMMAND an
absolute path. So a killed ``imagegen serve`` leaves no process behind that still holds its data. It uses prctl(2) with
PR_SET_PDEATHSIG, which only Linux has; elsewhere the command simply runs. As a script of its own it needs no code
between fork and exec. The signals after ``--without``, by name, stay blocked in the command.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_WITHOUT = "--without="


def main() -> None:
    """Ask the kernel to kill this process when its parent ends, then become the command."""
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before the call of prctl
        sys.exit(1)
    command = sys.argv[2:]
    if command[0].startswith(_WITHOUT):
        names = command.pop(0).removeprefix(_WITHOUT).split(",")
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.Signals[name] for name in names})
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()

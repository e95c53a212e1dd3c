"""Run as a script: becomes a command that the kernel kills when the process that started it is gone.

``python -I -S tied_process.py PARENT_PID COMMAND [ARGUMENT ...]``, with COMMAND an absolute path. A killed
``imagegen serve`` so leaves no process behind that still holds its data. (prctl(2), PR_SET_PDEATHSIG; Linux
only, elsewhere the command simply runs.) Being a program of its own, this needs no code between fork and exec.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it was gone before we asked
        sys.exit(1)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606


if __name__ == "__main__":
    main()

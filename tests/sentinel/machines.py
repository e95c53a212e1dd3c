"""Two machines on this one: network namespaces with a cable between them that can be cut.

Each also has a second address, over which the drill itself reaches it; nothing is passed on between these. It needs
root and the command ``ip`` (Debian: iproute2).
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

from tests.support.sentinels import Place

_SWITCH = "igbr"
_NUMBERS = (1, 2)


class TwoMachines:
    """The machines as places, and the cable of the first one."""

    def __init__(self, ip: str) -> None:
        self._ip = ip
        self.places = tuple(
            Place(f"10.86.0.{number}", f"10.87.{number}.2", (ip, "netns", "exec", f"ig{number}")) for number in _NUMBERS
        )

    def cut(self) -> None:
        """Let nothing pass between the machines; no connection is reset, and addresses stay."""
        self._run("link set igd1 down")

    def join(self) -> None:
        """Let everything pass again."""
        self._run("link set igd1 up")

    def make(self) -> None:
        self._run(f"link add {_SWITCH} type bridge")
        self._run(f"link set {_SWITCH} up")
        for number in _NUMBERS:
            name = f"ig{number}"
            self._run(f"netns add {name}")
            self._run(f"-n {name} link set lo up")
            self._run(f"link add igd{number} type veth peer name data netns {name}")
            self._run(f"link set igd{number} master {_SWITCH} up")
            self._run(f"-n {name} addr add 10.86.0.{number}/24 dev data")
            self._run(f"-n {name} link set data up")
            self._run(f"link add igm{number} type veth peer name front netns {name}")
            self._run(f"addr add 10.87.{number}.1/30 dev igm{number}")
            self._run(f"link set igm{number} up")
            self._run(f"-n {name} addr add 10.87.{number}.2/30 dev front")
            self._run(f"-n {name} link set front up")

    def remove(self) -> None:
        """Remove all of it, also what an earlier run left behind."""
        for number in _NUMBERS:
            for command in (f"link del igd{number}", f"link del igm{number}", f"netns del ig{number}"):
                with contextlib.suppress(subprocess.CalledProcessError):
                    self._run(command)
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run(f"link del {_SWITCH}")

    def _run(self, words: str) -> None:
        subprocess.run([self._ip, *words.split()], check=True, capture_output=True)


def missing() -> str | None:
    """Return why no machines can be made here, or None."""
    if shutil.which("ip", path=_path()) is None:
        return "the command `ip` is not here (Debian: apt-get install iproute2)"
    return None if os.geteuid() == 0 else "only root can make network namespaces"


@contextlib.contextmanager
def two_machines() -> Iterator[TwoMachines]:
    """Make the machines, and remove them at the end."""
    machines = TwoMachines(shutil.which("ip", path=_path()) or "ip")
    machines.remove()
    try:
        machines.make()
        yield machines
    finally:
        machines.remove()


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

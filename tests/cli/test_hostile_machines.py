"""The command where something that it takes for granted is missing: open outputs, a home, folders to write to."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.cli.cli_support import ROOT, clean_environment
from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.service import write_graph

IMAGEGEN = f"{sys.executable} -P -m cli"
STRANGER_S = "setpriv --reuid 12345 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search"
# No server is there, and `generate` says so.
COMMANDS = {"doctor": "doctor", "generate": "generate x --url http://127.0.0.1:9"}
# They need a Redis, and what a machine lacks is said before it is asked.
PARTS = {part: f"{part} --redis_url redis://127.0.0.1:9/0" for part in ("api", "worker")}
SENTENCES = {"doctor": "disk: ", "generate": "no server answers at http://127.0.0.1:9"}


def _can(command: str) -> bool:
    return subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.usefixtures("processes")
namespaces = pytest.mark.skipif(
    not (shutil.which("unshare") and _can("unshare -m true")), reason="this machine lets no process have its own mounts"
)
other_user = pytest.mark.skipif(
    not (shutil.which("setpriv") and _can(f"{STRANGER_S} true")), reason="only root can become another user"
)


def _shell(command: str, **extra: str) -> "subprocess.CompletedProcess[str]":
    """Run a line of shell to its end, in bash, whose pipes end with the code of the command that failed."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=clean_environment(**extra),
        cwd=ROOT,
        capture_output=True,
        encoding="latin-1",
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def _read_only(command: str, writable: Path, more: str = "true") -> str:
    """Return a line that runs a command where only one folder can be written; ``more`` mounts others before."""
    return f"""unshare -m bash -c '
        mount --make-rprivate / && mount -t tmpfs none {writable} || exit 99
        for mounted in $(cut -d" " -f2 /proc/mounts | sort -u | grep -vE "^/(proc|sys)"); do
            [ $mounted = {writable} ] || mount -o remount,bind,ro $mounted 2>/dev/null
        done
        {more}
        exec {command}'"""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("outputs", ["2>&-", "<&- >&- 2>&-"])
def test_closed_outputs(command: str, outputs: str, tmp_path: Path) -> None:
    """The code is the same as with open ones, and nothing is printed into another file."""
    run = f"{IMAGEGEN} {COMMANDS[command]}"
    ended = _shell(f"{run} {outputs}", XDG_DATA_HOME=str(tmp_path))
    assert ended.returncode == {"doctor": 0, "generate": 2}[command]
    assert "Traceback" not in ended.stdout + ended.stderr


def test_the_output_has_no_reader(tmp_path: Path) -> None:
    ended = _shell(f"{IMAGEGEN} doctor | true", XDG_DATA_HOME=str(tmp_path))
    assert (ended.returncode, ended.stderr) == (1, "")


def test_a_full_disk_for_the_output(tmp_path: Path) -> None:
    ended = _shell(f"{IMAGEGEN} doctor >/dev/full", XDG_DATA_HOME=str(tmp_path))
    assert ended.returncode == 2
    assert ended.stderr.startswith("imagegen: the standard output cannot be written: No space left on device")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("coding", [{"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}], ids=str)
def test_poor_encodings(coding: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "Яé"
    ended = _shell(f"{IMAGEGEN} doctor", XDG_DATA_HOME=str(folder), **coding)
    said = ended.stdout + ended.stderr
    assert SENTENCES["doctor"] in said and "Traceback" not in said


@other_user
@pytest.mark.parametrize("command", [*COMMANDS, "serve"])
def test_a_user_whom_the_machine_does_not_know(command: str) -> None:
    options = COMMANDS.get(command, f"serve --rest_port {free_port()}")
    run = f"{STRANGER_S} env -i PATH=/usr/bin:/bin PYTHONPATH={ROOT} {IMAGEGEN} {options}"
    ended = _shell(run)
    said = ended.stdout + ended.stderr
    assert "Traceback" not in said
    if command == "serve":
        assert ended.returncode == 2
        assert said.count("\n") == 1 and "/.local/share/imagegen cannot be used: Permission denied" in said
        assert "--data_dir" in said
    else:
        assert SENTENCES[command] in said


@namespaces
@pytest.mark.parametrize("command", [*COMMANDS, "serve", *PARTS])
def test_a_machine_that_cannot_be_written(command: str, tmp_path: Path) -> None:
    writable = tmp_path / "w"
    writable.mkdir()
    serve = f"serve --rest_port {free_port()} --data_dir {writable}/data"
    ended = _shell(_read_only(f"{IMAGEGEN} {({**COMMANDS, **PARTS}).get(command, serve)}", writable))
    said = ended.stdout + ended.stderr
    assert "Traceback" not in said
    if command == "doctor":
        assert "✗ tmp: No folder for temporary files can be written, such as /tmp.\n" in _utf8(said)
        assert "✗ tmp: Workers need shared memory, and /dev/shm cannot be used: Read-only" in _utf8(said)
    if command not in COMMANDS:
        assert ended.returncode == 2
        assert said.count("\n") == 1 and "no folder for temporary files can be written" in said and "TMPDIR" in said
    else:
        assert SENTENCES[command] in said


def _utf8(said: str) -> str:
    return said.encode("latin-1").decode()


@namespaces
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_machine_without_shared_memory(command: str, tmp_path: Path) -> None:
    writable = tmp_path / "w"
    writable.mkdir()
    options = PARTS.get(command, f"serve --rest_port {free_port()} --data_dir {writable}/data")
    ended = _shell(_read_only(f"{IMAGEGEN} {options}", writable), TMPDIR=str(writable))
    assert ended.returncode == 2
    assert ended.stderr == (
        "imagegen: workers need shared memory, and /dev/shm cannot be used: Read-only file system; "
        "mount a tmpfs there.\n"
    )


def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Also root cannot make a folder in /proc."""
    ended = _shell(f"{IMAGEGEN} serve --rest_port {free_port()} --data_dir /proc/imagegen")
    assert ended.returncode == 2
    assert ended.stderr.startswith("imagegen: the data directory /proc/imagegen cannot be used: ")
    assert ended.stderr.count("\n") == 1


def _serves(line: str, **extra: str) -> None:
    """Start a service with a line of shell that ends in its command; it becomes ready and stops with code 0."""
    port = free_port()
    variables = {"IMAGEGEN_WORKER__ENGINE": "simulated", "IMAGEGEN_HTTP__REST_PORT": str(port), **extra}
    process = subprocess.Popen(["bash", "-c", line], env=clean_environment(**variables), cwd=ROOT)

    def is_ready() -> bool:
        assert process.poll() is None
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/v2/health/ready").status_code == 200
        except httpx2.TransportError:
            return False

    try:
        wait_until(is_ready, "ready")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_a_service_goes_on_without_its_outputs(tmp_path: Path) -> None:
    """All three are closed; then a file, which must not get what is printed, would have their numbers."""
    model = write_graph(tmp_path / "shapes")
    _serves(f"exec {IMAGEGEN} serve --model_path {model} --data_dir {tmp_path}/data <&- >&- 2>&-")
    assert (tmp_path / "data" / "serve.lock").read_text() == ""


def test_a_service_goes_on_when_its_outputs_have_no_reader(tmp_path: Path) -> None:
    model = write_graph(tmp_path / "shapes")
    _serves(f"exec {IMAGEGEN} serve --model_path {model} --data_dir {tmp_path}/data > >(exit) 2>&1")


@namespaces
def test_a_service_on_a_read_only_machine(tmp_path: Path) -> None:
    """Its data folder and a folder for temporary files are all that it needs, and shared memory."""
    writable = tmp_path / "w"
    writable.mkdir()
    model = write_graph(tmp_path / "shapes")
    command = f"{IMAGEGEN} serve --model_path {model} --data_dir {writable}/data"
    _serves(f"exec {_read_only(command, writable, 'mount -t tmpfs none /dev/shm')}", TMPDIR=str(writable))

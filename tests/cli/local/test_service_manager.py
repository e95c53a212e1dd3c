"""What `imagegen serve` tells a service manager, and the unit of the documentation."""

import configparser
import re
import shlex
import socket
from pathlib import Path

import pytest

from cli.local.service_manager import tell_service_manager
from config.environment import load_settings
from tests.support.service import serving

PAGE = Path(__file__).parents[3] / "docs" / "systemd.md"


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """A service manager's socket, which NOTIFY_SOCKET names."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@imagegen-{tmp_path.name}"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind("\0" + name[1:] if name.startswith("@") else name)
    listening.settimeout(10)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    request.addfinalizer(listening.close)
    return listening


def test_states_reach_the_socket(manager: socket.socket) -> None:
    tell_service_manager("READY=1", "STATUS=serves demo")
    assert manager.recv(4096) == b"READY=1\nSTATUS=serves demo"


def test_a_socket_that_is_gone_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nowhere"))
    tell_service_manager("READY=1")
    assert "takes no message" in caplog.text


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_serve_says_when_it_is_ready_and_when_it_stops(manager: socket.socket, tmp_path: Path) -> None:
    with serving(tmp_path / "run", environment={"IMAGEGEN_WORKER__ENGINE": "simulated"}):
        assert manager.recv(4096) == b"READY=1\nSTATUS=serves demo"
    assert manager.recv(4096) == b"STOPPING=1"


def test_the_unit_waits_and_stops_as_the_service_needs() -> None:
    found = re.search(r"```ini\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(found[1])
    service = dict(unit["Service"])
    assert (service["Type"], service["KillMode"], service["RestartPreventExitStatus"]) == ("notify", "mixed", "2")
    assert shlex.split(service["ExecStart"])[1:] == ["serve", "--data_dir", "%S/imagegen"]
    settings = load_settings()
    stops_s = settings.http.shutdown_timeout_s + settings.worker.shutdown_timeout_s
    assert stops_s < 60 * int(service["TimeoutStopSec"].removesuffix("min"))

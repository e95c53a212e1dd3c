"""The checks of settings that let others use the service."""

from pathlib import Path
from typing import Any

from cli.checks.finding import Verdict
from cli.checks.settings_check import check_settings
from cli.local.api_address import is_loopback
from config.http_settings import HttpSettings
from config.settings import Settings
from tests.cli.checks.check_support import only, settings_for


def test_settings_that_open_the_service(tmp_path: Path) -> None:
    keys_file = tmp_path / "keys"
    keys_file.write_text("a-key-of-a-client\n")
    keys_file.chmod(0o600)

    def judged(**http: Any) -> tuple[Verdict, str]:
        return only(check_settings(Settings(http=HttpSettings(**http))))

    assert judged()[0] is Verdict.OK
    verdict, text = judged(rest_bind_address="0.0.0.0")
    assert (verdict, "--api_key_file" in text) == (Verdict.WRONG, True)
    assert judged(rest_bind_address="0.0.0.0", api_key_file=keys_file)[0] is Verdict.OK
    keys_file.chmod(0o644)
    assert judged(api_key_file=keys_file)[1].endswith(f"chmod 600 {keys_file}")
    assert judged(api_key_file=tmp_path / "none")[0] is Verdict.WRONG
    assert [is_loopback(host) for host in ("127.0.0.2", "::1", "localhost", "::", "h", "10.0.0.1")] == [
        *[True] * 3,
        *[False] * 3,
    ]
    assert "without a password" in only(check_settings(settings_for(tmp_path, "redis://10.0.0.1:6379/0")))[1]

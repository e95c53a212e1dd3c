"""What the tests of the checks share."""

from pathlib import Path
from typing import Any

from cli.checks.finding import Finding, Verdict
from config.settings import RedisSettings, Settings


def settings_for(tmp_path: Path, url: str | None = None, **groups: Any) -> Settings:
    """Return settings with this Redis and with the data folder ``tmp_path``."""
    return Settings(redis=RedisSettings(url=url), data_dir=tmp_path, **groups)


def only(findings: list[Finding]) -> tuple[Verdict, str]:
    """Return the verdict of the only finding, and its message and remedy as one text."""
    (finding,) = findings
    assert finding.message.endswith("."), finding
    assert (finding.remedy != "") or finding.verdict is not Verdict.WRONG
    return finding.verdict, f"{finding.message} {finding.remedy}"

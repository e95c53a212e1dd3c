"""A job that an older commit accepted is finished by this one, and its artifact can be fetched."""

import pytest

from tools.upgrade_drill import main

# The last commit before the data in Redis carried a version.
_BEFORE_0_1_0 = "b8603f2a4db29e1118686272cd19c1e89b25a29f"


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_two_hundred_jobs_survive_an_upgrade_from_the_oldest_supported_commit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--from", _BEFORE_0_1_0, "--simulated"]) == 0, capsys.readouterr().out

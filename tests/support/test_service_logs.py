"""A test that fails shows what the services beside it said."""

from pathlib import Path

from tests.support.service_logs import last_lines, shown_on_failure


def test_the_last_lines_of_a_running_service_are_shown_without_its_polls(tmp_path: Path) -> None:
    log = tmp_path / "serve.log"
    log.write_text("".join(f"line {number}\napi.access: GET /jobs 200\n" for number in range(100)))
    shown = ("the last lines of serve.log", "\n".join(f"line {number}" for number in range(40, 100)))
    with shown_on_failure(log):
        assert shown in last_lines()
    assert shown not in last_lines()

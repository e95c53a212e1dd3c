"""The log: lines of text, or one JSON object a line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.environment import SettingsError
from config.log_setup import check_log_file
from config.settings import LogSettings

pytestmark = pytest.mark.usefixtures("processes")

ROOT = Path(__file__).parents[2]
_BEGINNING = """
import contextvars, logging, os, threading, warnings
from config.log_context import log_always_with, log_from_here_with, logged_with
from config.log_setup import configure_logging
from config.settings import LogSettings
configure_logging(LogSettings(format={format!r}), quiet=("noisy",))
log = logging.getLogger("here")
"""


def written(code: str, log_format: str = "json") -> str:
    """Return what a process that runs this code writes to standard error."""
    source = _BEGINNING.format(format=log_format) + code
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == ""
    return done.stderr


def lines(code: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(code).splitlines()]


def test_a_line_of_text() -> None:
    (line,) = written("with logged_with(request_id='r'): log.info('hello %s', 'world')", "text").splitlines()
    assert line.endswith("INFO    here: hello world")


def test_a_line_of_json() -> None:
    (line,) = lines("log.warning('hello %s\\n\"quoted\" \\u00e9', 'world')")
    assert list(line)[:4] == ["time", "level", "logger", "message"]
    assert line == {"time": line["time"], "level": "WARNING", "logger": "here", "message": 'hello world\n"quoted" é'}
    assert line["time"].endswith("+00:00")


def test_the_values_of_the_context_are_in_every_line_of_the_block() -> None:
    code = """
log_always_with(graph="demo")
with logged_with(request_id="r1", job_id=None):
    log.info("begins")
    log_from_here_with(job_id="j1")
    with logged_with(attempt=2):
        log.info("deep", extra={"job_id": "its own"})
    thread = threading.Thread(target=contextvars.copy_context().run, args=(log.info, "elsewhere"))
    thread.start(); thread.join()
log.info("outside")
"""
    found = [{k: v for k, v in line.items() if k not in ("time", "level", "logger")} for line in lines(code)]
    assert found == [
        {"message": "begins", "graph": "demo", "request_id": "r1"},
        {"message": "deep", "graph": "demo", "request_id": "r1", "attempt": 2, "job_id": "its own"},
        {"message": "elsewhere", "graph": "demo", "request_id": "r1", "job_id": "j1"},
        {"message": "outside", "graph": "demo"},
    ]


def test_warnings_and_uncaught_exceptions_are_logged() -> None:
    code = """
logging.getLogger("noisy").info("left out")
warnings.warn("old", stacklevel=1)
thread = threading.Thread(target=lambda: 1 / 0, name="worker-1")
thread.start(); thread.join()
raise ValueError("the end")
"""
    warned, thread, end = lines(code)
    assert (warned["logger"], warned["level"]) == ("py.warnings", "WARNING")
    assert thread["message"] == "thread worker-1 ends: ZeroDivisionError"
    assert "ZeroDivisionError: division by zero" in thread["exception"]
    assert end["message"] == "the process ends: ValueError"
    assert end["exception"].startswith("Traceback")


def test_a_file_gets_the_log_too_and_is_begun_anew_when_it_was_moved(tmp_path: Path) -> None:
    file = tmp_path / "new" / "log"
    code = f"""
import pathlib, shutil
file = pathlib.Path({str(file)!r})
configure_logging(LogSettings(format="json", path=file), quiet=("noisy",))
log.info("one")
configure_logging(LogSettings(format="text", path=file), quiet=("noisy",))
log.info("two")
file.rename(file.with_name("moved"))
log.info("three")
os.write(2, file.read_bytes())
shutil.rmtree(file.parent)
file.parent.touch()
log.info("four"); log.info("five")
raise ValueError("the end")
"""
    said = written(code, "text").splitlines()
    assert json.loads(said[0])["message"] == "one"
    assert [line.rpartition(" ")[2] for line in said[1:4]] == ["two", "three", "three"]
    lacks = [line for line in said if "lacks lines of the log" in line]
    assert lacks == [f"{file} lacks lines of the log, which cannot be written: Not a directory"]
    assert [line.rpartition(" ")[2] for line in said if "here:" in line][-2:] == ["four", "five"]
    assert sum(line.startswith("Traceback") for line in said) == 1


def test_a_file_keeps_what_it_has_and_gets_uncaught_exceptions(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("older\n")
    written(f"configure_logging(LogSettings(path={str(file)!r}))\nraise ValueError('the end')", "text")
    first, second, *others = file.read_text().splitlines()
    assert first == "older" and second.endswith("the process ends: ValueError") and "ValueError: the end" in others


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    file = tmp_path / "taken" / "log"
    with pytest.raises(
        SettingsError, match=r"IMAGEGEN_LOG__PATH \(--log_path\): .* cannot be written: Not a directory"
    ):
        check_log_file(LogSettings(path=file))

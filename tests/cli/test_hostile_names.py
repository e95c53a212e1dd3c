"""Names of files and folders: what the command line prints of them controls no terminal, and ends in no traceback."""

import json
import logging
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from config.log_setup import JsonLines, TextLines
from config.printable import printable, printable_json, printable_lines
from graphs.definition.reader import read_graph
from graphs.repository.bundled import bundled_model_path
from tests.cli.cli_support import Command
from tests.support.service import write_graph

NAMES = [
    "\x1b[31mred\x1b]0;title\x07",
    "\x1b]8;;http:evil.example\x1b\\link",
    "[bold][blink]b[ :smile:",
    "two\nimagegen: lines\r",
    "\x9b2J\x7f\u202eltr\u2066x\u2028\u200b",
    os.fsdecode(b"\xff\xfe not UTF-8"),
    "ünusual 图",
]


def checked(done: "subprocess.CompletedProcess[str]") -> str:
    text = done.stdout + done.stderr
    assert "Traceback" not in text
    assert all(line.isprintable() for line in text.split("\n")), repr(text)
    if done.returncode == 2:
        assert len(done.stderr.strip().split("\n")) == 1, done.stderr
    return text


@pytest.fixture(params=NAMES, ids=ascii)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    "command",
    [
        ("validate", "{}"),
        ("configure", "--model_path", "{}"),
        ("serve", "--model_path", "{}"),
        ("api", "--redis_url", "redis://127.0.0.1:1", "--model_path", "{}"),
        ("worker", "--redis_url", "redis://127.0.0.1:1", "--config_path", "{}"),
        ("generate", "x", "--image", "{}"),
        ("generate", "x", "--out", "{}"),
        ("generate", "x", "--out", "{}/x.png"),
        ("api", "--redis_url", "{}"),
        ("{}",),
        ("serve", "--{}"),
    ],
    ids=" ".join,
)
def test_a_name_that_is_refused_is_shown_in_one_sentence(here: Command, name: str, command: tuple[str, ...]) -> None:
    done = here(*(part.replace("{}", name) for part in command))
    checked(done)
    assert done.returncode == 2


def test_a_folder_and_a_file_that_cannot_be_used(here: Command, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "graph.pbtxt").write_text(f"node {{ {printable(name)} }}")
    assert here("validate", str(folder)).returncode == 2
    checked(here("validate", str(folder)))
    checked(here("serve", "--model_path", str(folder)))


def test_the_definitions_of_a_folder_are_json_that_holds_its_names(here: Command, tmp_path: Path) -> None:
    names = [name for name in NAMES if printable(name) == name or "\udcff" not in name]
    for name in names:
        write_graph(tmp_path / "models" / name)
    done = here("validate", str(tmp_path / "models"))
    checked(done)
    if done.returncode == 0:
        assert set(json.loads(done.stdout)) == set(names)


def test_the_doctor_prints_names_as_text(here: Command, tmp_path: Path, processes: None) -> None:
    name = " ".join(NAMES)
    for options in ((), ("--json",)):
        done = here("doctor", *options, "--model_path", str(tmp_path / name), "--data_dir", str(tmp_path / name))
        checked(done)
        assert done.returncode == 1


def test_the_graph_that_configure_prints_reads_back(here: Command, tmp_path: Path) -> None:
    for name in NAMES:
        folder = tmp_path / name
        shutil.copytree(bundled_model_path(), folder, ignore=shutil.ignore_patterns("*.bin", "graph.pbtxt"))
        adapter = folder / f"{name}.safetensors"
        adapter.write_bytes(b"")
        done = here("configure", "--model_path", str(folder), "--source_loras", f"x={adapter}")
        checked(done)
        if done.returncode == 0:
            (written,) = read_graph(folder / "graph.pbtxt", "g").lora_adapters
            assert written.path == adapter


def test_a_line_of_the_log_stays_one_line() -> None:
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, "refused %s", (NAMES[0] + NAMES[3],), None)
    line = TextLines().format(record)
    assert line.isprintable()
    assert line.endswith("refused  [31mred ]0;title two imagegen: lines ")
    try:
        raise ValueError(NAMES[0])
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    lines = TextLines().format(record).split("\n")
    assert len(lines) > 3 and all(line.isprintable() for line in lines)


def test_a_json_line_of_the_log_has_no_control_character() -> None:
    for name in NAMES:
        line = JsonLines().format(logging.LogRecord("x", logging.WARNING, __file__, 1, "%s", (name,), None))
        assert line.isprintable()
        assert json.loads(line)["message"] == name


def test_text_is_made_printable() -> None:
    assert [printable(name).isprintable() for name in NAMES] == [True] * len(NAMES)
    assert printable("ünusual 图") == "ünusual 图"
    assert printable_lines("a\x07\nb\r") == "a \nb "
    for name in NAMES:
        text = printable_json({name: [name]})
        assert json.loads(text) == {name: [name]}
        assert all(line.isprintable() for line in text.split("\n"))

"""Commands that ask a server, against one that answers anything: one sentence, no traceback, nothing for a terminal."""

import base64
import gzip
import json
import os
import pty
import re
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.client import answers, http_client
from tests.cli.cli_support import Command, clean_environment
from tests.support.polling import wait_until

# Colours, a title, a link, a bell, a line of its own, deletion, C1's escape, marks of direction, rich's markup.
ATTACK = (
    "\x1b[31mred\x1b]0;title\x07\x1b]8;;http://evil.example\x1b\\link\x07\r\nimagegen: spoofed\x7f\x9b2J"
    "\u202eltr\u2066x\u2028y\u200b[bold red][/nonsense][link=http://evil.example]x[/link]:smile:"
)
# Controls, marks of format and direction, surrogates, what has no meaning, ends of lines and paragraphs.
CONTROL = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
JOB = {
    "id": ATTACK,
    "status": "failed",
    "created_at": 1,
    "progress": 50,
    "step": 1,
    "total_steps": 2,
    "model": ATTACK,
    "size": ATTACK,
    "prompt": ATTACK,
    "error": {"message": ATTACK, "code": ATTACK},
    "metadata": {ATTACK: ATTACK},
    ATTACK: ATTACK,
    "never_at": 1e300,
}
WAITING = {
    **{name: ATTACK for name in ("id", "owner", "model", "priority")},
    **{name: 1 for name in ("created_at", "steps", "n", "pixels")},
    "moved": False,
}
FAILED = {**{name: ATTACK for name in ("id", "owner", "model", "worker", "code", "message")}, "failed_at": 1}
WORKER = {
    **{name: ATTACK for name in ("name", "model", "device", "stage", "job", "last_error")},
    "since": 1,
    "last_job_seconds": {ATTACK: 1.5},
}
MODEL = {
    "id": ATTACK,
    "kind": "adapter",
    "base": ATTACK,
    "adapters": {ATTACK: 1, "a": 0.5},
    "adapter_files": {ATTACK: {"layers": {ATTACK: {"matched": 1, "total": 2}}, "ranks": [1, 2], "left_out": ATTACK}},
}
REFRESHED = {
    "served": 1,
    "added": [ATTACK],
    "changed": [ATTACK],
    "removed": [ATTACK],
    "left_out": [{"file": ATTACK, "reason": ATTACK}],
}
IMAGES = {"data": [{"b64_json": base64.b64encode(b"x").decode()}], "seed": 7}
EVENT = {"type": "progress", "sequence_number": 1, "step": 1, "total_steps": 2, "progress": 50}
LAST = {"type": "failed", "sequence_number": 2, "job": {"error": {"message": ATTACK}}}
COMMANDS = {
    "list": ("jobs", "list"),
    "show": ("jobs", "show", "x"),
    "watch": ("jobs", "watch", "x"),
    "cancel": ("jobs", "cancel", "x"),
    "queue": ("jobs", "queue"),
    "front": ("jobs", "front", "x"),
    "errors": ("jobs", "errors"),
    "workers": ("jobs", "workers"),
    "adapters": ("adapters", "list"),
    "adapter": ("adapters", "show", "x"),
    "refresh": ("adapters", "refresh"),
    "generate": ("generate", "a red circle"),
    "async": ("generate", "a red circle", "--async"),
}
ERROR = {"error": {"message": ATTACK, "type": ATTACK, "param": ATTACK, "code": None}}


class Handler(BaseHTTPRequestHandler):
    """Answers every request with the server's status, headers and body."""

    server: "AnyServer"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, headers, body = self.server.answer
        self.send_response(status, ATTACK.encode("ascii", "ignore").decode().replace("\r\n", " "))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with suppress(ConnectionError):  # a client that has enough of it
            self.wfile.write(body)

    do_GET = do_POST = _answer

    def log_message(self, *_: object) -> None: ...


class AnyServer(ThreadingHTTPServer):
    answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture(scope="module")
def server(processes: None) -> Iterator[AnyServer]:
    with AnyServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up on a server at once."""
    for name in ("_AWAY_S", "_RECONNECT_S", "_POLL_S"):
        monkeypatch.setattr(http_client, name, 0.01)


def checked(done: "subprocess.CompletedProcess[str]") -> None:
    """Check that a command ended with results or with one sentence, and printed nothing that controls a terminal."""
    assert done.returncode in (0, 1, 2), done
    assert "Traceback" not in done.stderr
    text = (done.stdout + done.stderr).replace("\n", "")
    assert [character for character in text if unicodedata.category(character) in CONTROL] == []
    if done.returncode == 2:
        assert re.fullmatch(r"imagegen: [^\n]+\n", done.stderr), done.stderr


def run(here: Command, server: AnyServer, name: str) -> "subprocess.CompletedProcess[str]":
    done = here(*COMMANDS[name], "--url", server.url)
    checked(done)
    return done


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def events(*values: object) -> bytes:
    return b"".join(b"data: " + as_json(value) + b"\n\n" for value in values)


def page(*jobs: dict[str, Any]) -> dict[str, Any]:
    return {"data": list(jobs), "has_more": False, "last_id": None}


@pytest.mark.parametrize(
    ("name", "status", "answer", "code"),
    [
        ("list", 200, page(JOB), 0),
        ("show", 200, JOB, 0),
        ("queue", 200, page(WAITING), 0),
        ("front", 200, WAITING, 0),
        ("errors", 200, page(FAILED), 0),
        ("workers", 200, page(WORKER), 0),
        ("cancel", 200, {**JOB, "status": ATTACK}, 0),
        ("adapters", 200, {"data": [MODEL]}, 0),
        ("adapter", 200, MODEL, 0),
        ("refresh", 200, REFRESHED, 0),
        ("async", 202, JOB, 0),
        ("generate", 202, JOB, 2),
        *((name, 400, ERROR, 2) for name in COMMANDS),
    ],
)
def test_nothing_of_an_answer_controls_the_terminal(
    here: Command, server: AnyServer, name: str, status: int, answer: object, code: int
) -> None:
    server.answer = (status, {"content-type": "application/json", "retry-after": "\x1b[31m9"}, as_json(answer))
    done = run(here, server, name)
    assert done.returncode == code
    assert "red" in done.stdout + done.stderr
    assert "[bold red][/nonsense]" in done.stdout + done.stderr  # shown as it is: it is no markup here


def test_nothing_of_an_event_controls_the_terminal(here: Command, server: AnyServer) -> None:
    server.answer = (200, {"content-type": "text/event-stream"}, events(EVENT, LAST))
    done = run(here, server, "watch")
    assert (done.returncode, "[bold red][/nonsense]" in done.stdout) == (1, True)


OTHER = [
    (200, "text/html", b"<!doctype html><title>It works!</title>"),
    (200, "application/json", b""),
    (200, "application/json", b"null"),
    (200, "application/json", b"[]"),
    (200, "application/json", b"{}"),
    (200, "application/json", b'"text"'),
    (200, "application/json", b'{"data": {"x": 1}, "id": {}, "has_more": "yes"}'),
    (200, "application/json", b"[" * 100_000),
    (200, "application/json", b'{"id": ' + b'{"a":' * 900 + b"1" + b"}" * 901),
    (200, "application/json", b'{"id": "x", "status": "failed", "progress": ' + b"9" * 5000 + b"}"),
    (200, "application/json", b"\xff\xfe\x00"),
    (200, "application/json", b'{"id": "\\ud800", "status": "\\udfff"}'),
    (200, "text/event-stream", b"data: {\n\n"),
    (200, "text/event-stream", b"data: 1\n\n"),
    (200, "text/event-stream", b": nothing\n\n"),
    (200, "text/event-stream", b'data: {"type": "completed", "sequence_number": "1"}\n\n'),
    (200, "application/json; charset=nonsense", as_json(IMAGES)),
    (202, "application/json", b"{}"),
    (204, "", b""),
    (301, "", b""),
    (500, "text/html", b"<h1>Internal Server Error</h1>"),
    (500, "application/json", b'{"error": null}'),
    (502, "application/json", b'{"error": {"message": {"a": 1}, "param": [1]}}'),
    (503, "text/plain", b"later"),
]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(("status", "kind", "body"), OTHER, ids=range(len(OTHER)))
def test_an_answer_of_another_form_is_one_sentence(
    here: Command, server: AnyServer, name: str, status: int, kind: str, body: bytes
) -> None:
    server.answer = (status, {"content-type": kind}, body)
    has_images = name == "generate" and body == as_json(IMAGES)
    assert run(here, server, name).returncode == (0 if has_images else 2)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b" " * 2**24)], ids=["broken", "bomb"])
def test_a_compressed_answer_is_not_unpacked(here: Command, server: AnyServer, name: str, body: bytes) -> None:
    server.answer = (200, {"content-encoding": "gzip", "content-type": "text/event-stream"}, body)
    assert "its answer is compressed, which it was not asked for" in run(here, server, name).stderr


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_an_answer_that_does_not_end_is_given_up(
    here: Command, server: AnyServer, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    monkeypatch.setattr(answers, "LONGEST_ANSWER_BYTES", 2**20)
    server.answer = (200, {"content-type": kind}, b" " * (2**20 + 1))
    done = run(here, server, name)
    is_refused_first = kind == "application/json" and name == "watch"
    assert is_refused_first or "its answer is longer than 1048576 bytes" in done.stderr


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(ATTACK)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


RIGHT: dict[str, tuple[int, Any]] = {
    "list": (200, page(JOB)),
    "show": (200, JOB),
    "watch": (200, EVENT),
    "cancel": (200, JOB),
    "queue": (200, page(WAITING)),
    "front": (200, WAITING),
    "errors": (200, page(FAILED)),
    "workers": (200, page(WORKER)),
    "adapters": (200, {"data": [MODEL]}),
    "adapter": (200, MODEL),
    "refresh": (200, REFRESHED),
    "generate": (200, IMAGES),
    "async": (202, JOB),
}


def places(value: object, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*way, key)
        yield from places(child, (*way, key))


def replaced(value: Any, way: tuple[Any, ...], new: object) -> Any:
    """Return a copy of a JSON value with another value at a place; LEFT_OUT takes it out."""
    if not way:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    changed = replaced(copy[way[0]], way[1:], new)
    if changed is LEFT_OUT:
        del copy[way[0]]
    else:
        copy[way[0]] = changed
    return copy


LEFT_OUT = object()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_value_of_an_answer_may_be_another_or_be_left_out(here: Command, server: AnyServer, name: str) -> None:
    status, right = RIGHT[name]
    others: tuple[object, ...] = (
        LEFT_OUT,
        None,
        True,
        -1,
        1e308,
        10**400,
        "",
        ATTACK,
        [],
        {},
        [ATTACK],
        {ATTACK: ATTACK},
    )
    for way in places(right):
        for other in others:
            value = replaced(right, way, other)
            is_event = name == "watch"
            body = events(value, LAST) if is_event else as_json(value)
            server.answer = (status, {"content-type": "text/event-stream" if is_event else "application/json"}, body)
            run(here, server, name)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=VALUES,
    status=st.sampled_from([200, 200, 201, 202, 400, 404, 500]),
    kind=st.sampled_from(["application/json", "text/html", "text/event-stream", ""]),
    data=st.data(),
)
@pytest.mark.parametrize("name", COMMANDS)
def test_answers_of_any_shape_end_without_a_traceback(
    here: Command, server: AnyServer, name: str, value: object, status: int, kind: str, data: st.DataObject
) -> None:
    right = RIGHT[name][1]
    if data.draw(st.booleans()):
        value = replaced(right, data.draw(st.sampled_from(list(places(right)))), value)
    body = as_json(value) if kind != "text/event-stream" else events(value, value)
    server.answer = (status, {"content-type": kind}, body)
    run(here, server, name)


def test_a_progress_bar_on_a_terminal_shows_no_control_of_an_answer(server: AnyServer, tmp_path: Path) -> None:
    attack = {**LAST, "type": f"failed-{ATTACK}", "sequence_number": 1}
    server.answer = (200, {"content-type": "text/event-stream"}, events(attack, {**LAST, "type": "failed"}))
    controller, terminal = pty.openpty()
    command = [sys.executable, "-P", "-m", "cli", "jobs", "watch", "x", "--url", server.url]
    environment = {**clean_environment(), "TERM": "xterm"}
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, cwd=tmp_path)
    os.close(terminal)
    seen = bytearray()
    wait_until(lambda: _is_over(controller, seen), "the command ends")
    os.close(controller)
    assert process.wait(30) == 1
    shown = seen.decode(errors="replace")
    assert "[/nonsense]" in shown
    for part in ("\x1b]0;", "\x1b]8;", "\x1b[31m", "\x07", "\x9b", "\u202e", "\u2066", "\u200b", "Traceback"):
        assert part not in shown


def _is_over(controller: int, seen: bytearray) -> bool:
    try:
        seen += os.read(controller, 65536)
    except OSError:  # Linux reports the end of the other side so
        return True
    return False


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (("generate", "a \udcff circle"), "prompt is not UTF-8 text"),
        (("generate", "x", "--api_key", "kéy"), "a character that no request can carry"),
        (("generate", "x", "--api_key", "a\nb"), "a character that no request can carry"),
    ],
)
def test_what_no_request_can_carry_is_one_sentence(
    here: Command, server: AnyServer, args: tuple[str, ...], part: str
) -> None:
    done = here(*args, "--url", server.url)
    checked(done)
    assert part in done.stderr


def test_names_that_are_no_text_are_asked_for_as_they_are(here: Command, server: AnyServer) -> None:
    server.answer = (404, {"content-type": "application/json"}, as_json(ERROR))
    for args in (("jobs", "show", "\udcff"), ("adapters", "show", "\udcff"), ("jobs", "watch", "\udcff")):
        done = here(*args, "--url", server.url)
        checked(done)
        assert "the server refuses" in done.stderr

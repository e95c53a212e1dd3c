"""Attacks with nothing but connections and headers: no key is needed for any of them."""

import itertools
import re
import resource
from collections.abc import Iterator
from datetime import datetime, timedelta

import httpx2
import pytest

from tests.security.conftest import KEY, OTHER_KEY
from tests.security.honest import honest_clients, refused
from tests.security.hostile import connected, head, is_closed, many_connections, send_all, status_of
from tests.support.polling import pause, wait_until
from tests.support.service import Service

MANY = 1100
DRIP_S = 0.3
# The OpenAI client's own.
_RETRIES = 2


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    """Let this process open as many connections as an attacker does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("start", "part"),
    [
        pytest.param(b"GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ", b"a" * 2**20, id="one long value"),
        pytest.param(b"GET /v2/health/live HTTP/1.1\r\n", b"a: b\r\n" * 2**17, id="short headers"),
        pytest.param(b"GET /", b"a" * 2**20, id="a long path"),
        pytest.param(
            b"POST /v3/images/generations HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Long: ",
            b"a" * 2**20,
            id="a long trailer",
        ),
    ],
)
def test_endless_headers_are_refused_and_dropped(open_service: Service, start: bytes, part: bytes) -> None:
    before = refused(open_service, "headers_too_large")
    with honest_clients(open_service), connected(open_service) as attacker:
        sent = send_all(attacker, itertools.chain([start], itertools.repeat(part, 147)))
        assert sent < 16 * 2**20
        is_closed(attacker)
    assert refused(open_service, "headers_too_large") == before + 1


def test_too_large_headers_get_an_answer_that_says_so(open_service: Service) -> None:
    with connected(open_service) as attacker:
        send_all(attacker, [b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 70_000])
        assert status_of(attacker) == 431
        assert is_closed(attacker)


@pytest.mark.parametrize(
    "headers",
    [[f"X-{number}: a" for number in range(200)], ["X-Long: " + "a" * 70_000]],
    ids=["too many", "too large at once"],
)
def test_complete_headers_are_bounded_as_well(open_service: Service, headers: list[str]) -> None:
    with connected(open_service) as attacker:
        attacker.sendall(head("GET", "/v2/health/live", *headers))
        assert status_of(attacker) == 431


def test_silent_connections_keep_no_one_out(open_service: Service) -> None:
    silent = refused(open_service, "silent")
    with honest_clients(open_service), many_connections(open_service, MANY):
        wait_until(lambda: refused(open_service, "silent") >= silent + MANY, "all of them are closed")


def test_dripping_headers_are_given_up(open_service: Service) -> None:
    slow = refused(open_service, "headers_too_slow")
    with honest_clients(open_service), many_connections(open_service, 50) as attackers:
        for attacker in attackers:
            attacker.sendall(b"GET /v2/health/live HTTP/1.1\r\n")
        while refused(open_service, "headers_too_slow") < slow + 50:
            for attacker in attackers:
                send_all(attacker, [b"X-Drip: a\r\n"])
            pause(DRIP_S)
        assert status_of(attackers[0]) == 408
        assert is_closed(attackers[0])


def test_a_kept_connection_has_no_more_time_for_its_next_headers(open_service: Service) -> None:
    with connected(open_service) as attacker:
        attacker.sendall(head("GET", "/v2/health/live"))
        assert status_of(attacker) == 200
        attacker.sendall(b"GET /v2/health/live HTTP/1.1\r\n")
        assert status_of(attacker) == 408


def test_at_the_bound_the_longest_silent_connection_makes_room(keyed_service: Service) -> None:
    """64 connections may be open; the attackers send requests, so that their connections are kept."""
    with honest_clients(keyed_service, KEY, retries=_RETRIES):
        displaced = refused(keyed_service, "connection_displaced", KEY)
        with many_connections(keyed_service, 100) as attackers:
            for attacker in attackers:
                send_all(attacker, [head("GET", "/v2/health/live")])
            wait_until(lambda: refused(keyed_service, "connection_displaced", KEY) >= displaced + 30)


def test_at_the_bound_dripping_bodies_make_room(keyed_service: Service) -> None:
    start = head("POST", "/v3/images/edits", "Content-Length: 1000", f"Authorization: Bearer {KEY}")
    with (
        honest_clients(keyed_service, OTHER_KEY, retries=_RETRIES),
        many_connections(keyed_service, 200) as attackers,
    ):
        for attacker in attackers:
            send_all(attacker, [start + b"{"])
        for _ in range(20):
            answer = httpx2.get(
                f"{keyed_service.url}/v3/models", headers={"Authorization": f"Bearer {OTHER_KEY}"}, timeout=30
            )
            assert answer.status_code == 200


@pytest.mark.thorough
def test_a_body_that_goes_on_after_its_answer_is_given_up(open_service: Service) -> None:
    before = refused(open_service, "body_after_answer")
    with honest_clients(open_service), connected(open_service) as attacker:
        attacker.sendall(head("POST", "/v3/nothing", "Content-Length: 1000000"))
        assert status_of(attacker) == 404
        wait_until(lambda: send_all(attacker, [b"a"]) == 0, "the connection is closed")
    assert refused(open_service, "body_after_answer") == before + 1


def test_an_answer_that_is_not_taken_is_dropped(open_service: Service) -> None:
    before = refused(open_service, "answer_not_taken")
    with honest_clients(open_service), many_connections(open_service, 10) as attackers:
        for attacker in attackers:
            attacker.sendall(head("GET", "/swagger-ui/swagger-ui-bundle.js") * 8)
        wait_until(lambda: refused(open_service, "answer_not_taken") >= before + 10, "all of them are closed")


def test_an_offer_of_http_2_is_ignored_and_the_body_is_read(open_service: Service) -> None:
    """Java's HttpClient and ``curl --http2`` send it with each request."""
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"}
    for _ in range(2):
        answer = httpx2.post(
            f"{open_service.url}/v3/images/generations", json={"prompt": "a red circle"}, headers=offer, timeout=30
        )
        assert answer.status_code == 200, answer.text


def test_what_is_not_http_is_refused_and_fills_no_log(open_service: Service) -> None:
    before = open_service.log.read_text().count("\n")
    for _ in range(50):
        with connected(open_service) as attacker:
            attacker.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
            assert status_of(attacker) == 400
    assert open_service.log.read_text().count("\n") < before + 10


def test_the_process_may_open_more_files_than_its_soft_limit(open_service: Service) -> None:
    page = httpx2.get(f"{open_service.url}/metrics").text
    limit = next(float(line.split()[1]) for line in page.splitlines() if line.startswith("process_max_fds "))
    assert limit == resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def test_a_body_without_a_valid_key_is_not_read(keyed_service: Service) -> None:
    """The answer comes before a single byte of the body."""
    for path in ("/v3/images/generations", "/v3/images/edits", "/v3/images/jobs", "/v3/lora_adapters"):
        with connected(keyed_service) as attacker:
            attacker.sendall(
                head("POST", path, "Content-Length: 8000000", "Authorization: Bearer wrong", "Content-Type: a/b")
            )
            assert status_of(attacker) == 401, path


def test_what_was_refused_is_logged_at_most_once_a_minute(open_service: Service) -> None:
    for _ in range(3):
        with connected(open_service) as attacker:
            attacker.sendall(b"no HTTP\r\n\r\n")
            assert status_of(attacker) == 400
    times = re.compile(r"^(\S+ \S+) WARNING.*refused since the last such line: \w+ \d+", re.MULTILINE)
    wait_until(lambda: times.search(open_service.log.read_text()), "a line about it")
    logged = [datetime.fromisoformat(found) for found in times.findall(open_service.log.read_text())]
    assert all(later - earlier > timedelta(seconds=59) for earlier, later in itertools.pairwise(logged))

"""Attacks with connections and headers, most of them without a key."""

import random
import socket
import time
from collections import Counter

from tests.attack.target import ATTACKER
from tests.security.hostile import connected, head, is_closed, many_connections, send_all, status_of
from tests.support.polling import pause
from tests.support.service import Service

_MIB = 2**20
_DRIP_S = 0.3
# No attack holds its connections for longer.
_MOST_S = 15.0


def endless_headers(service: Service, chosen: random.Random) -> Counter[int | None]:
    start, part = chosen.choice(
        [
            (b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nX-Long: ", b"a" * _MIB),
            (b"GET /v2/health/live HTTP/1.1\r\n", b"a: b\r\n" * 2**17),
            (b"GET /", b"a" * _MIB),
            (b"POST /v3/nothing HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Long: ", b"a" * _MIB),
        ]
    )
    with connected(service) as attacker:
        send_all(attacker, [start, *[part] * chosen.randint(1, 100)])
        is_closed(attacker)
    return Counter([None])


def silent_connections(service: Service, chosen: random.Random) -> Counter[int | None]:
    with many_connections(service, chosen.randint(50, 300)) as attackers:
        return Counter(status_of(attacker) for attacker in attackers)


def dripping_headers(service: Service, chosen: random.Random) -> Counter[int | None]:
    with many_connections(service, chosen.randint(10, 60)) as attackers:
        for attacker in attackers:
            attacker.sendall(b"GET /v2/health/live HTTP/1.1\r\n")
        _drip(attackers, b"X-Drip: a\r\n")
        return Counter(status_of(attacker) for attacker in attackers)


def dripping_bodies(service: Service, chosen: random.Random) -> Counter[int | None]:
    size_bytes = chosen.choice([1000, 40 * _MIB])
    start = head("POST", "/v3/images/edits", f"Content-Length: {size_bytes}", f"Authorization: Bearer {ATTACKER}")
    with many_connections(service, chosen.randint(10, 60)) as attackers:
        for attacker in attackers:
            send_all(attacker, [start])
        _drip(attackers, b"{")
    return Counter()


def answers_not_taken(service: Service, chosen: random.Random) -> Counter[int | None]:
    with many_connections(service, chosen.randint(5, 20)) as attackers:
        for attacker in attackers:
            send_all(attacker, [head("GET", "/swagger-ui/swagger-ui-bundle.js") * 8])
        pause(_MOST_S)
    return Counter()


def no_http(service: Service, chosen: random.Random) -> Counter[int | None]:
    found: Counter[int | None] = Counter()
    for _ in range(50):
        with connected(service) as attacker:
            send_all(attacker, [chosen.randbytes(chosen.randint(1, 5000)), b"\r\n\r\n"])
            found[status_of(attacker)] += 1
    return found


def _drip(attackers: list[socket.socket], part: bytes) -> None:
    """Send the part on each of the connections again and again, until all of them are closed or the time is over."""
    end = time.monotonic() + _MOST_S
    while time.monotonic() < end and any([send_all(attacker, [part]) for attacker in attackers]):
        pause(_DRIP_S)

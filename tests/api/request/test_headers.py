import pytest
from starlette.requests import Request

from api.request.headers import RequestHeaders, read_headers
from config.http_settings import HttpSettings
from graphs.errors import InvalidRequest
from workers.jobs.store import Idempotency


def _read(**headers: str) -> RequestHeaders:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return read_headers(Request({"type": "http", "headers": raw}), HttpSettings())


def test_without_headers_everything_has_its_default() -> None:
    assert _read() == RequestHeaders()
    assert RequestHeaders().idempotency("d") == Idempotency(digest="d")


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("", None),
        ("respond-async", 0.0),
        ("Respond-Async", 0.0),
        (" respond-async ,return=minimal", 0.0),
        ("return=minimal, respond-async", 0.0),
        ("wait=10", 10.0),
        ("WAIT=10", 10.0),
        ("wait=0", 0.0),
        ("wait=999999", 999999.0),
        ("respond-async, wait=10", 10.0),
        ("wait=10,respond-async", 10.0),
        ("wait=1, wait=2", 1.0),
        (",,wait=3,,", 3.0),
    ],
)
def test_prefer_is_read_as_rfc_7240_defines_it(header: str, wait_s: float | None) -> None:
    assert _read(prefer=header).wait_s == wait_s


@pytest.mark.parametrize(
    "header",
    [
        "wait",
        "wait=",
        "wait=-1",
        "wait=1.5",
        "wait=x",
        "wait=1e3",
        "wait=9999999",
        "wait=٣".encode().decode("latin-1"),
        "async",
        "handling=strict",
    ],
)
def test_an_unknown_preference_is_ignored(header: str) -> None:
    assert _read(prefer=header).wait_s is None
    assert _read(prefer=f"{header}, respond-async").wait_s == 0.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("30", 30), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("1.5 m", 90), (" 7s ", 7), ("0s", 0)],
)
def test_cancel_after_is_a_duration(text: str, seconds: float) -> None:
    assert _read(cancel_after=text).cancel_after_s == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1d", "s", "1e3s", "1" * 10, "٣s".encode().decode("latin-1")])
def test_a_cancel_after_that_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        _read(cancel_after=text)
    assert refusal.value.param == "Cancel-After"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("600", 600), ("0.5", 0.5), ("None", None), ("inf", None), ("0", 0.5), ("0.0", 0.5), ("-1", None)],
)
def test_the_timeout_of_an_sdk_is_a_number_or_none(text: str, seconds: float | None) -> None:
    assert _read(x_stainless_read_timeout=text).timeout_s == seconds
    assert _read(x_stainless_timeout=text).timeout_s == seconds


@pytest.mark.parametrize(
    ("headers", "from_s"),
    [
        ({}, None),
        ({"x_stainless_lang": "python"}, None),
        ({"x_stainless_lang": "js"}, 250.0),
        ({"x_stainless_lang": "js", "x_stainless_timeout": "600"}, 540.0),
        ({"x_stainless_lang": "js", "x_stainless_timeout": "0"}, 0.45),
        ({"x_stainless_timeout": "10"}, 9.0),
    ],
)
def test_a_client_that_leaves_late_has_timed_out(headers: dict[str, str], from_s: float | None) -> None:
    """A stock Node client states no time-out and is cut by its fetch after 300 s, then sends the request again."""
    assert _read(**headers).times_out_from_s == from_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("white-space=5", 5.0), ("respond-async, White-Space=20", 20.0), ("white-space=0", None), ("white-space", None)],
)
def test_a_request_may_ask_for_white_space(text: str, seconds: float | None) -> None:
    assert _read(prefer=text).white_space_s == seconds


@pytest.mark.parametrize(("text", "retry"), [("0", 0), ("2", 2), ("x", None), ("-1", None), ("", None)])
def test_the_number_of_a_retry_is_read(text: str, retry: int | None) -> None:
    assert _read(x_stainless_retry_count=text).retry == retry


def test_an_empty_idempotency_key_is_none() -> None:
    assert _read(idempotency_key="").idempotency_key is None


def test_an_idempotency_key_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        _read(idempotency_key="x" * 257)
    assert refusal.value.param == "Idempotency-Key"


def test_an_idempotency_key_always_joins_and_is_stored_as_a_digest() -> None:
    key = _read(idempotency_key="order 66", x_stainless_retry_count="0").idempotency("d")
    assert (key.digest, key.ttl_s, key.join) == ("d", 24 * 3600, "always")
    assert "order" not in key.key
    assert key.key != _read(idempotency_key="order 67").idempotency("d").key


def test_the_retry_of_an_sdk_joins_a_live_job() -> None:
    first, second = (_read(x_stainless_retry_count=text).idempotency("d") for text in "01")
    assert (first.join, second.join) == ("never", "live")
    assert first.key == second.key != ""


@pytest.mark.parametrize("prefer", ["respond-async", "wait=5"])
def test_a_request_that_does_not_wait_is_not_taken_for_a_retry(prefer: str) -> None:
    headers = _read(prefer=prefer, x_stainless_retry_count="1")
    assert headers.idempotency("d") == Idempotency(digest="d")

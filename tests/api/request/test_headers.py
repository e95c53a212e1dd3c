import pytest
from starlette.requests import Request

from api.request.headers import Wishes, read_wishes
from graphs.errors import InvalidRequest
from workers.jobs.store import Idempotency


def _read(**headers: str) -> Wishes:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return read_wishes(Request({"type": "http", "headers": raw}))


def test_a_plain_client_wishes_nothing() -> None:
    assert _read() == Wishes()
    assert Wishes().once("d") == Idempotency(digest="d")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("30", 30), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("1.5 m", 90), (" 7s ", 7), ("0s", 0)],
)
def test_a_deadline_is_a_duration(text: str, seconds: float) -> None:
    assert _read(cancel_after=text).cancel_after_s == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1d", "s", "1e3s", "1" * 10, "٣s".encode().decode("latin-1")])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        _read(cancel_after=text)
    assert refusal.value.param == "Cancel-After"


@pytest.mark.parametrize(
    ("text", "seconds"), [("600", 600), ("0.5", 0.5), ("None", None), ("inf", None), ("0", None), ("-1", None)]
)
def test_the_sdks_patience_is_a_number_or_none(text: str, seconds: float | None) -> None:
    assert _read(x_stainless_read_timeout=text).patience_s == seconds
    assert _read(x_stainless_timeout=text).patience_s == seconds


@pytest.mark.parametrize(("text", "retry"), [("0", 0), ("2", 2), ("x", None), ("-1", None), ("", None)])
def test_an_attempt_is_counted(text: str, retry: int | None) -> None:
    assert _read(x_stainless_retry_count=text).retry == retry


@pytest.mark.parametrize("key", ["", "x" * 257])
def test_a_key_of_the_wrong_length_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        _read(idempotency_key=key)
    assert refusal.value.param == "Idempotency-Key"


def test_a_key_joins_always_and_is_not_stored_itself() -> None:
    once = _read(idempotency_key="order 66", x_stainless_retry_count="0").once("d")
    assert (once.digest, once.ttl_s, once.join) == ("d", 24 * 3600, "always")
    assert "order" not in once.key
    assert once.key != _read(idempotency_key="order 67").once("d").key


def test_an_sdks_retry_joins_what_lives() -> None:
    first, second = (_read(x_stainless_retry_count=text).once("d") for text in "01")
    assert (first.join, second.join) == ("never", "live")
    assert first.key == second.key != ""


@pytest.mark.parametrize("prefer", ["respond-async", "wait=5"])
def test_who_does_not_wait_is_not_taken_for_a_retry(prefer: str) -> None:
    wishes = _read(prefer=prefer, x_stainless_retry_count="1")
    assert wishes.once("d") == Idempotency(digest="d")

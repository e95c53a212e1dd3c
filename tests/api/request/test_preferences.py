import pytest

from api.request.preferences import read_preference


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        (None, None),
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
def test_waiting_is_read_as_rfc_7240_writes_it(header: str | None, wait_s: float | None) -> None:
    assert read_preference(header).wait_s == wait_s


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
        "wait=٣",
        "async",
        "handling=strict",
    ],
)
def test_what_is_not_understood_is_ignored(header: str) -> None:
    assert read_preference(header).wait_s is None
    assert read_preference(f"{header}, respond-async").wait_s == 0.0

import ssl
from typing import Any

import pytest

from graphs.errors import ConfigurationError
from workers.jobs.redis.address import broker_tls, broker_url, store_url

REQUIRED = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}


@pytest.mark.parametrize(
    ("given", "store", "broker"),
    [
        ("redis://h", "redis://h/0", "redis://h/0"),
        ("redis://h:1/3", "redis://h:1/3", "redis://h:1/3"),
        ("redis://h?db=3", "redis://h/3", "redis://h/3"),
        ("redis://h/1?db=3", "redis://h/3", "redis://h/3"),
        (" redis://u:p%40s@h:1/2 ", "redis://u:p%40s@h:1/2", "redis://u:p%40s@h:1/2"),
        ("redis://[::1]:1/2", "redis://[::1]:1/2", "redis://[::1]:1/2"),
        ("valkey://:p@h/4", "redis://:p@h/4", "redis://:p@h/4"),
        ("valkeys://h", "rediss://h/0", "rediss://h/0"),
        ("unix:///run/r.sock", "unix:///run/r.sock?db=0", "redis+socket:///run/r.sock?virtual_host=0"),
        ("unix://:p@/r.sock?db=2", "unix://:p@/r.sock?db=2", "redis+socket://:p@/r.sock?virtual_host=2"),
        ("redis+socket:///r.sock", "unix:///r.sock?db=0", "redis+socket:///r.sock?virtual_host=0"),
        ("redis+socket:///r.sock?virtual_host=5", "unix:///r.sock?db=5", "redis+socket:///r.sock?virtual_host=5"),
        (
            "rediss://h:2/1?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=/ca.pem",
            "rediss://h:2/1?ssl_cert_reqs=required&ssl_ca_certs=/ca.pem",
            "rediss://h:2/1",
        ),
    ],
)
def test_an_address_means_the_same_to_both_libraries(given: str, store: str, broker: str) -> None:
    assert (store_url(given), broker_url(given)) == (store, broker)
    assert store_url(store) == store


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ("redis://h", None),
        ("unix:///r.sock", None),
        ("rediss://h", REQUIRED),
        ("valkeys://h?ssl_ca_certs=/ca.pem", {**REQUIRED, "ssl_ca_certs": "/ca.pem"}),
        (
            "rediss://h?ssl_certfile=/c.pem&ssl_keyfile=/k.pem",
            {**REQUIRED, "ssl_certfile": "/c.pem", "ssl_keyfile": "/k.pem"},
        ),
        ("rediss://h?ssl_check_hostname=false", {**REQUIRED, "ssl_check_hostname": False}),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", {**REQUIRED, "ssl_cert_reqs": ssl.CERT_NONE}),
    ],
)
def test_celery_checks_the_certificate_as_the_store_does(given: str, options: dict[str, Any] | None) -> None:
    assert broker_tls(given) == options


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "is no address"),
        ("h:6379", "is no address"),
        ("http://:secret@h", "is no address"),
        ("redis://", "is no address"),
        ("redis://h:port", "is no address"),
        ("redis://:secret@h/first", "names the database 'first'; a database is a number"),
        ("redis://:secret@h?db=", "names the database ''"),
        ("redis://:secret@h?bd=3", "has a parameter 'bd'; known here: db."),
        ("redis://:secret@h?db=1&db=2", "gives a parameter twice"),
        ("redis://:secret@h?ssl_ca_certs=/ca.pem", "Use rediss:// for TLS."),
        ("rediss://:secret@h?ssl_cert_reqs=maybe", "ssl_cert_reqs must be one of required, optional, none"),
        ("rediss://:secret@h?ssl_check_hostname=perhaps", "ssl_check_hostname must be true or false"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(given: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as refused:
        store_url(given)
    assert "secret" not in str(refused.value)

import pytest
from kombu import Connection

from config.settings import RedisSettings, Settings
from graphs.errors import ConfigurationError
from workers.jobs.broker import make_celery
from workers.jobs.redis.connection import redis_url, sentinels_of
from workers.jobs.redis.sentinel_address import is_sentinel, sentinel_address


@pytest.mark.parametrize(
    ("given", "canonical", "server", "broker"),
    [
        ("redis+sentinel://a/n", "redis+sentinel://a:26379/n/0", "redis://a:26379/0", "sentinel://a:26379/0"),
        (
            " valkey+sentinel://u:p%40s@a:1,b:2/my-name/3 ",
            "redis+sentinel://u:p%40s@a:1,b:2/my-name/3",
            "redis://u:p%40s@a:1/3",
            "sentinel://u:p%40s@a:1/3;sentinel://u:p%40s@b:2/3",
        ),
        (
            "redis+sentinel://:p@a,b/n?sentinel_password=s",
            "redis+sentinel://:p@a:26379,b:26379/n/0?sentinel_password=s",
            "redis://:p@a:26379/0",
            "sentinel://:p@a:26379/0;sentinel://:p@b:26379/0",
        ),
        ("redis+sentinel://[::1]:5/n", "redis+sentinel://[::1]:5/n/0", "redis://[::1]:5/0", "sentinel://[::1]:5/0"),
        (
            "rediss+sentinel://a:1/n/2?ssl_ca_certs=/ca.pem",
            "rediss+sentinel://a:1/n/2?ssl_ca_certs=/ca.pem",
            "rediss://a:1/2?ssl_ca_certs=/ca.pem",
            "sentinel://a:1/2",
        ),
    ],
)
def test_an_address_means_the_same_to_all_connections(given: str, canonical: str, server: str, broker: str) -> None:
    address = sentinel_address(given)
    assert is_sentinel(given) and redis_url(RedisSettings(url=given)) == address.url() == canonical
    assert (address.server_url, address.broker_url()) == (server, broker)
    assert sentinel_address(canonical) == address


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("redis+sentinel://:secret@a:1,b:2", "names no primary"),
        ("redis+sentinel://:secret@a:1,/name", "has no sentinel in one of its places"),
        ("redis+sentinel://:secret@a:99999/name", "has no sentinel in one of its places"),
        ("redis+sentinel:///name", "has no sentinel in one of its places"),
        ("redis+sentinel://a/name/first", "names the database 'first'"),
        ("redis+sentinel://a/name?ssl_ca_certs=/ca", "Use rediss:// for TLS"),
        ("redis+sentinel://a/name?sentinel_user=secret", "has a parameter 'sentinel_user'"),
        ("redis+sentinel://a/name?sentinel_username=u", "without a sentinel_password"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(given: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as refused:
        sentinel_address(given)
    assert "secret" not in str(refused.value)


def test_no_password_is_shown() -> None:
    given = "redis+sentinel://:server-word@a:1/name?sentinel_password=sentinel-word"
    assert "word" not in repr(sentinel_address(given)) + repr(RedisSettings(url=given))


def test_the_sentinels_have_credentials_of_their_own_and_the_same_tls() -> None:
    given = "rediss+sentinel://u:p@a:1/n?ssl_ca_certs=/ca.pem&sentinel_username=su&sentinel_password=s%26p"
    assert sentinel_address(given).sentinel_options(0.5) == {
        "socket_timeout": 0.5,
        "socket_connect_timeout": 0.5,
        "ssl": True,
        "ssl_ca_certs": "/ca.pem",
        "username": "su",
        "password": "s&p",
    }


def test_celery_asks_the_same_sentinels_with_time_outs_for_all() -> None:
    url = "redis+sentinel://u:p@a:1,b:2/my-name/3?sentinel_password=s"
    app = make_celery(Settings(redis=RedisSettings(url=url, connect_timeout_s=0.7, timeout_s=4)))
    options = app.conf.broker_transport_options
    assert options["master_name"] == "my-name"
    asking = options["sentinel_kwargs"]
    assert asking.pop("retry").get_retries() == 0
    assert asking == {"socket_timeout": 0.7, "socket_connect_timeout": 0.7, "password": "s"}
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (4, 0.7)
    broker = Connection(app.conf.broker_url)
    assert [broker.hostname, broker.port, broker.userid, broker.password] == ["a", 1, "u", "p"]
    assert (broker.virtual_host, len(broker.alt)) == ("3", 2)


def test_an_ordinary_address_has_no_sentinels() -> None:
    assert sentinels_of(RedisSettings(url="redis://h")) is None
    assert (
        "master_name" not in make_celery(Settings(redis=RedisSettings(url="redis://h"))).conf.broker_transport_options
    )

"""Connections to the primary that sentinels name. They are asked whenever a connection is opened.

After a failover every connection to the old primary ends: it is closed, or the server answers READONLY, which is a lost
connection here, because nothing was written then and a command can be sent again. redis-py has a Sentinel client too
(``redis.sentinel``); its connections come with a pool of their own, and the API needs the one of connection.py.
"""

from collections.abc import Iterable
from typing import Any

import redis
import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from workers.jobs.redis.sentinel_address import Host, SentinelAddress, host_shown

# A sentinel answers within milliseconds; the next one is asked instead of a silent one.
_LONGEST_WAIT_S = 1.0


class PrimaryUnknown(redis.ConnectionError):
    """Sentinels answer, and none of them knows the name."""


class NoSentinelAnswers(redis.ConnectionError):
    """No sentinel answers."""


class Sentinels:
    """The sentinels of an address, in the order in which they are asked: the one that answered last comes first."""

    def __init__(self, address: SentinelAddress, timeout_s: float) -> None:
        """``timeout_s``: how long connecting to a sentinel, or its answer, may take."""
        self.address = address
        # Where the primary was when it was asked for last.
        self.newest: Host | None = None
        self._hosts = address.hosts
        self._options = address.sentinel_options(min(timeout_s, _LONGEST_WAIT_S))

    def primary(self) -> Host:
        """Return where the primary is. Raises PrimaryUnknown, NoSentinelAnswers, or redis.AuthenticationError."""
        failed: dict[Host, Exception] = {}
        for host in self._hosts:
            try:
                with self.client(host) as client:
                    found = client.sentinel_get_master_addr_by_name(self.address.name)
            except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError) as error:
                failed[host] = error
                continue
            if found is not None:
                return self._found(host, found)
        raise self._none(failed)

    async def primary_async(self) -> Host:
        """Do as ``primary``."""
        failed: dict[Host, Exception] = {}
        for host in self._hosts:
            client = redis.asyncio.Redis(
                host=host[0], port=host[1], protocol=2, retry=AsyncRetry(NoBackoff(), 0), **self._options
            )
            try:
                async with client:
                    found = await client.sentinel_get_master_addr_by_name(self.address.name)
            except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError) as error:
                failed[host] = error
                continue
            if found is not None:
                return self._found(host, found)
        raise self._none(failed)

    def client(self, host: Host) -> "redis.Redis":
        """Return a client of one sentinel."""
        return redis.Redis(host=host[0], port=host[1], protocol=2, retry=Retry(NoBackoff(), 0), **self._options)

    def broker_options(self) -> dict[str, Any]:
        """Return what Kombu's transport needs beside the broker's URL."""
        # redis-py would ask a silent sentinel three more times before the next one.
        return {
            "master_name": self.address.name,
            "sentinel_kwargs": {**self._options, "retry": Retry(NoBackoff(), 0)},
        }

    def distrust(self) -> None:
        """Ask another sentinel next: what the first one named is no primary."""
        self._hosts = (*self._hosts[1:], self._hosts[0])

    def _found(self, host: Host, primary: Any) -> Host:
        self._hosts = (host, *(other for other in self._hosts if other != host))
        self.newest = _text(primary[0]), int(primary[1])
        return self.newest

    def _none(self, failed: dict[Host, Exception]) -> redis.ConnectionError:
        answering = [host for host in self.address.hosts if host not in failed]
        if answering:
            return PrimaryUnknown(
                f"the sentinels at {', '.join(map(host_shown, answering))} know no primary with the name "
                f"{self.address.name!r}"
            )
        refused = next((error for error in failed.values() if is_refusal(error)), None)
        if refused is not None:
            return NoSentinelAnswers(f"the sentinels at {self.address.shown} refuse the user or password: {refused}")
        reasons = ", ".join(dict.fromkeys(f"{error}".rstrip(".") for error in failed.values()))
        return NoSentinelAnswers(f"no sentinel answers at {self.address.shown} ({reasons})")


def is_refusal(error: Exception) -> bool:
    """Return whether a server refuses a user or a password, or wants one that is not given."""
    return isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError)


class PrimaryConnection:
    """A connection of a synchronous client to the primary; it is mixed into one of redis-py."""

    sentinels: Sentinels

    def _connect(self) -> Any:
        self.host, self.port = self.sentinels.primary()
        return super()._connect()  # type: ignore[misc]  # of the class that this is mixed into

    def on_connect_check_health(self, check_health: bool = True) -> None:
        """Begin the session, and see that the server is the primary."""
        super().on_connect_check_health(check_health)  # type: ignore[misc]
        self.send_command("ROLE", check_health=False)  # type: ignore[attr-defined]
        try:
            _check_role(self.sentinels, self.read_response())
        except redis.exceptions.NoPermissionError:
            return  # a replica would refuse the first write

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Read a reply. Raises ConnectionError in place of READONLY."""
        try:
            return super().read_response(*arguments, **options)  # type: ignore[misc]
        except redis.exceptions.ReadOnlyError as error:
            self.disconnect()  # type: ignore[attr-defined]
            raise _demoted(error) from error


class AsyncPrimaryConnection:
    """The same for an asynchronous client. ``address`` is that of the server to which it is connected."""

    sentinels: Sentinels
    address: Host | None = None

    async def _connect(self) -> None:
        self.address = await self.sentinels.primary_async()
        self.host, self.port = self.address
        await super()._connect()  # type: ignore[misc]

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Do as ``PrimaryConnection``."""
        await super().on_connect_check_health(check_health)  # type: ignore[misc]
        await self.send_command("ROLE", check_health=False)  # type: ignore[attr-defined]
        try:
            _check_role(self.sentinels, await self.read_response())
        except redis.exceptions.NoPermissionError:
            return

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Do as ``PrimaryConnection``."""
        try:
            return await super().read_response(*arguments, **options)  # type: ignore[misc]
        except redis.exceptions.ReadOnlyError as error:
            await self.disconnect()  # type: ignore[attr-defined]
            raise _demoted(error) from error


def _check_role(sentinels: Sentinels, role: Iterable[Any]) -> None:
    if _text(next(iter(role))) not in ("master", "primary"):
        sentinels.distrust()
        raise redis.ConnectionError(f"what a sentinel named as the primary {sentinels.address.name!r} is a replica")


def _demoted(error: Exception) -> redis.ConnectionError:
    return redis.ConnectionError(f"the primary has become a replica: {error}")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

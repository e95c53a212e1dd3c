"""What the sentinels see: the primary, its replicas, one another, and whether a replica could take its place."""

import re
from collections import Counter
from dataclasses import dataclass

import redis

from workers.jobs.redis.sentinel import NoSentinelAnswers, PrimaryUnknown, Sentinels
from workers.jobs.redis.sentinel_address import Host, host_shown

_USABLE = re.compile(r"(\d+) usable")


@dataclass(frozen=True)
class SentinelView:
    """The state of a group of servers, as the first sentinel that answers sees it.

    ``silent`` are the sentinels of the address that do not answer. ``known`` sentinels watch this primary, ``usable``
    of them answer, and ``needed`` must agree before a replica takes the primary's place. ``named`` are the primaries
    that the sentinels name: more than one while they disagree. ``replicas`` are those that are up.
    """

    name: str
    primary: Host
    named: tuple[Host, ...]
    listed: int
    silent: tuple[Host, ...]
    known: int
    usable: int
    needed: int
    replicas: int

    def summary(self) -> str:
        """Return the primary, the sentinels and the replicas in a sentence without its full stop."""
        return (
            f"the primary {self.name!r} is {host_shown(self.primary)} with {_number(self.replicas, 'replica')}; "
            f"{self.listed - len(self.silent)} of {_number(self.listed, 'sentinel')} in REDIS_URL answer, "
            f"{self.usable} of {self.known} can be used, and {self.needed} must agree on a failover"
        )

    def trouble(self) -> str | None:
        """Return why no replica would take the primary's place, and what to do after a semicolon; None if one would."""
        if len(self.named) > 1:
            named = " and ".join(map(host_shown, self.named))
            return f"the sentinels name different primaries of {self.name!r}, {named}; see their logs and the network"
        if self.usable < self.needed:
            return (
                f"only {self.usable} of {_number(self.known, 'sentinel')} of the primary {self.name!r} can be used and "
                f"{self.needed} must agree, so no replica would take its place if it failed; start the other sentinels"
            )
        if not self.replicas:
            return (
                f"the primary {self.name!r} has no replica that is up, so nothing would take its place if it failed; "
                "start a replica"
            )
        return None


def read_sentinel_view(sentinels: Sentinels) -> SentinelView:
    """Ask the sentinels of an address.

    Raises PrimaryUnknown with the names that they know, NoSentinelAnswers, or redis.ResponseError where a command is
    refused.
    """
    try:
        primary = sentinels.primary()
    except PrimaryUnknown as error:
        raise PrimaryUnknown(f"{error}, only {_names(sentinels)}") from error
    asked = {host: _named(sentinels, host) for host in sentinels.address.hosts}
    first = next((host for host, named in asked.items() if named), None)
    if first is None:
        raise NoSentinelAnswers(f"no sentinel answers at {sentinels.address.shown}")
    name = sentinels.address.name
    with sentinels.client(first) as client:
        state = client.sentinel_master(name)
        replicas = client.sentinel_slaves(name)
        usable = _usable(client, name)
    known = int(state["num-other-sentinels"]) + 1
    return SentinelView(
        name=name,
        primary=primary,
        named=tuple(Counter(named for named in asked.values() if named)),
        listed=len(asked),
        silent=tuple(host for host, named in asked.items() if named is None),
        known=known,
        usable=usable,
        needed=max(int(state["quorum"]), known // 2 + 1),
        replicas=sum(not (one["is_sdown"] or one["is_disconnected"]) for one in replicas),
    )


def _named(sentinels: Sentinels, host: Host) -> Host | None:
    try:
        with sentinels.client(host) as client:
            found = client.sentinel_get_master_addr_by_name(sentinels.address.name)
    except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError):
        return None
    return None if found is None else (_text(found[0]), int(found[1]))


def _names(sentinels: Sentinels) -> str:
    names: set[str] = set()
    for host in sentinels.address.hosts:
        try:
            with sentinels.client(host) as client:
                names |= {repr(_text(name)) for name in client.sentinel_masters()}
        except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError):
            continue  # another one may answer
    return ", ".join(sorted(names)) or "none at all"


def _usable(client: "redis.Redis", name: str) -> int:
    try:
        said = client.execute_command("SENTINEL", "CKQUORUM", name)  # type: ignore[no-untyped-call]
    except redis.ResponseError as error:  # NOQUORUM
        said = str(error)
    found = _USABLE.search(_text(said))
    return int(found[1]) if found else 0


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

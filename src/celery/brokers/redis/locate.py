"""Finding the server to talk to: a fixed list, the master that Sentinel names, the node of a cluster.

All of this blocks, and none of it is hot: an event loop asks from a thread, and not at all if there is only one
place to go.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from celery.brokers.base import BrokerError, BrokerUnavailable
from celery.net.stream import connect as connect_stream
from celery.wire.resp import ErrorReply

from .connection import Connection
from .errors import translate

if TYPE_CHECKING:
    from .settings import SentinelSettings, Settings, Target


class Locator(Protocol):
    """Says where to connect. `immediate` if it can say so without any I/O."""

    immediate: bool

    def locate(self, deadline: float) -> Target:
        """The server to connect to. Whoever cannot says so by `Settings.gave_up`.

        Raises:
            BrokerUnavailable: nobody knows.
        """


def locator_of(settings: Settings) -> Locator:
    """The way to find what the settings name."""
    if settings.sentinel is not None:
        return SentinelLocator(settings, settings.sentinel)
    if settings.cluster:
        return ClusterLocator(settings)
    return ListLocator(settings)


class ListLocator:
    """One server, or that of several which the failover says."""

    immediate = True

    def __init__(self, settings: Settings) -> None:
        self._failover = settings.failover
        self._first = settings.targets[0]
        self._targets = {target.url: target for target in settings.targets}

    def locate(self, deadline: float) -> Target:
        """See `Locator.locate`."""
        del deadline
        return self._first if self._failover is None else self._targets[self._failover.current]


class Found:
    """Knows the server: that of another connection."""

    immediate = True

    def __init__(self, target: Target) -> None:
        self._target = target

    def locate(self, deadline: float) -> Target:
        """See `Locator.locate`."""
        del deadline
        return self._target


class SentinelLocator:
    """Asks the sentinels one by one for the master; the one that knew is asked first the next time."""

    immediate = False

    def __init__(self, settings: Settings, sentinel: SentinelSettings) -> None:
        self._settings = settings
        self._name = sentinel.master_name
        self._min_others = sentinel.min_others
        self._sentinels = list(sentinel.sentinels)

    def locate(self, deadline: float) -> Target:
        """See `Locator.locate`."""
        troubles: list[str] = []
        for sentinel in tuple(self._sentinels):
            until = min(deadline, time.monotonic() + min(self._settings.connect_timeout, 1.0))
            try:
                host, port = self._ask(sentinel, until)
            except BrokerError as error:
                troubles.append(str(error))
                continue
            self._sentinels.remove(sentinel)
            self._sentinels.insert(0, sentinel)
            mine = self._settings.targets[0]
            return replace(mine, place=replace(mine.place, host=host, port=port))
        raise BrokerUnavailable(
            f"{self._settings.url}: no sentinel knows a master {self._name!r}: {'; '.join(troubles)}"
        )

    def _ask(self, sentinel: Target, deadline: float) -> tuple[str, int]:
        where = f"sentinel {sentinel.place}"
        try:
            connection = Connection.open(sentinel, deadline)
            try:
                (master,) = connection.exchange([("SENTINEL", "MASTER", self._name)], deadline)
            finally:
                connection.close()
        except (OSError, ErrorReply) as error:
            raise translate(error, where) from error
        if isinstance(master, ErrorReply):
            raise BrokerUnavailable(f"{where}: {master}")
        fields = master if isinstance(master, dict) else dict(zip(master[::2], master[1::2], strict=True))
        flags = fields[b"flags"].decode().split(",")
        if "s_down" in flags or "o_down" in flags:
            raise BrokerUnavailable(f"{where}: master {self._name!r} is down, and no other one is chosen yet")
        if int(fields.get(b"num-other-sentinels", 0)) < self._min_others:
            raise BrokerUnavailable(f"{where}: it knows fewer than {self._min_others} other sentinels")
        return fields[b"ip"].decode(), int(fields[b"port"])


class ClusterLocator:
    """Asks the nodes one by one which of them has the slot of our keys."""

    immediate = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._nodes = list(settings.targets)
        self._known: Target | None = None

    def locate(self, deadline: float) -> Target:
        """See `Locator.locate`."""
        troubles: list[str] = []
        for node in tuple(self._nodes):
            until = min(deadline, time.monotonic() + self._settings.connect_timeout)
            try:
                return self._ask(node, until)
            except (OSError, ErrorReply) as error:
                troubles.append(str(translate(error, str(node.place))))
            except BrokerError as error:
                troubles.append(str(error))
            self._nodes.append(self._nodes.pop(0))
        raise BrokerUnavailable(f"{self._settings.url}: no node answers: {'; '.join(troubles)}")

    def _ask(self, node: Target, deadline: float) -> Target:
        sock = connect_stream(node.place, deadline)
        connection = Connection(sock, str(node.place))
        try:
            connection.greet(replace(node, master=False), "", deadline)
            slot, ranges = connection.exchange(
                [("CLUSTER", "KEYSLOT", self._settings.slot_key), ("CLUSTER", "SLOTS")], deadline
            )
        finally:
            connection.close()
        for reply in (slot, ranges):
            if isinstance(reply, ErrorReply):
                raise reply
        mine = self._settings.targets[0]
        places = []
        found: Target | None = None
        for low, high, master, *replicas in ranges:
            for host, port, *_ in (master, *replicas):
                name = host.decode() if host else node.place.host
                places.append(replace(mine, place=replace(mine.place, host=name, port=port)))
            if low <= slot <= high:
                found = places[-1 - len(replicas)]
        if found is None:
            raise BrokerUnavailable(f"{node.place}: no node of the cluster serves slot {slot}")
        self._nodes = list(dict.fromkeys([*self._nodes, *places]))
        return found

"""A Redis as a `Broker`: makes the faces, answers the operator."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from celery.brokers.base import BrokerRefused, Capabilities, DeadLetter
from celery.wire.resp import ErrorReply

from . import messages
from .client import Client
from .errors import translate
from .exchanges import Exchanges
from .keys import Keys
from .publisher import RedisPublisher
from .scripts import DROP_PARKED, REVIVE
from .settings import read as read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.brokers.base import BrokerOptions
    from celery.brokers.topology import Exchange, Queue
    from celery.wire.resp import Command

    from .consumer import RedisConsumer
    from .mailbox import RedisMailbox

#: Seconds that operators' questions may take.
_PATIENCE = 10.0
#: Parked messages thrown away in one script.
_AT_ONCE = 1000


class RedisBroker:
    """The `Broker` of `redis://` and its relatives. Making one does no I/O.

    Args:
        url: see `settings.read`; several in one text are separated by `;`.
        options: the transport options are Celery's; ours is `lease` (seconds, 10).

    Raises:
        BrokerRefused: the URL or an option makes no sense.
    """

    def __init__(self, url: str, options: BrokerOptions) -> None:
        self.url = url
        given = dict(options.transport_options)
        settings = read_settings(
            options.urls or url,
            ssl=options.ssl,
            options=given,
            connect_timeout=options.connect_timeout,
            timeout=options.publish_timeout or _PATIENCE,
            failover_strategy=options.failover_strategy,
        )
        self.keys = Keys(settings.options, settings.database, cluster=settings.cluster)
        self.settings = replace(settings, slot_key=self.keys.prefix)
        self.options = options
        self.visibility_timeout = _number(settings.options, "visibility_timeout", 3600.0)
        self.exchanges = Exchanges(self.keys)
        self.client = Client(self.settings)
        self.capabilities = Capabilities(
            highest_priority_first=False,
            due=options.fleet == "celeriac",
            names_queues=False,
            keeps_fanout=False,
        )
        self._publisher = RedisPublisher(
            self.settings, self.client, self.keys, self.exchanges, self.visibility_timeout
        )

    # -- faces ------------------------------------------------------------------------------------
    def publisher(self) -> RedisPublisher:
        """See `Broker.publisher`."""
        return self._publisher

    def consumer(self, worker_id: str, *, guarded: bool = False) -> RedisConsumer:
        """See `Broker.consumer`."""
        from .consumer import RedisConsumer  # noqa: PLC0415 - asyncio is not for those who only send

        return RedisConsumer(self, worker_id, guarded=guarded)

    async def mailbox(
        self,
        name: str,
        exchange: Exchange,
        routing_key: str,
        *,
        expires: float,
        ttl: float | None = None,
        durable: bool = False,
        exclusive: bool = True,
    ) -> RedisMailbox:
        """See `Broker.mailbox`."""
        del ttl, durable, exclusive
        from .mailbox import RedisMailbox  # noqa: PLC0415 - as above

        box = RedisMailbox(self, name, exchange, routing_key, expires=expires)
        await box.open()
        return box

    # -- for operators ----------------------------------------------------------------------------
    def _do(self, commands: Sequence[Command]) -> list[Any]:
        replies = self.client.pipeline(commands, deadline=time.monotonic() + _PATIENCE, again=True)
        for reply in replies:
            if isinstance(reply, ErrorReply):
                raise translate(reply, self.settings.url)
        return replies

    def declare(self, queues: Sequence[Queue]) -> None:
        """See `Broker.declare`."""
        commands = [command for queue in queues for command in self.exchanges.declaring(queue)]
        if commands:
            self._do(commands)

    def size(self, queue: str) -> int:
        """See `Broker.size`."""
        lists: list[Command] = [("LLEN", ready) for ready in self.keys.lists(queue)]
        return sum(self._do([*lists, ("ZCARD", self.keys.due(queue))]))

    def purge(self, queue: str) -> int:
        """See `Broker.purge`."""
        keys = self.keys
        lists = keys.lists(queue)
        commands: list[Command] = [
            ("MULTI",),
            *(("LLEN", ready) for ready in lists),
            ("DEL", *lists),
            ("EXEC",),
        ]
        total = sum(self._do(commands)[-1][:-1])
        while count := self.client.run(DROP_PARKED, [keys.unacked, keys.index, keys.due(queue)], [_AT_ONCE]):
            total += count
        return total  # type: ignore[no-any-return]

    def delete(self, queue: str) -> int:
        """See `Broker.delete`."""
        keys = self.keys
        count = self.purge(queue)
        (known,) = self._do([("SMEMBERS", keys.exchanges(queue))])
        # A queue that a stock program declared is most often bound to the exchange of its own name.
        names = sorted({*(name.decode() for name in known), queue, "celery"})
        members = self._do([("SMEMBERS", keys.binding(name)) for name in names])
        self._do(list(self.exchanges.forgetting(queue, names, dict(zip(names, members, strict=True)))))
        self._publisher.forget(queue)
        return count

    def dead(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """See `Broker.dead`."""
        letters: list[DeadLetter] = []
        for name in self._dead_queues() if queue is None else [queue]:
            (entries,) = self._do([("XRANGE", self.keys.dead(name), "-", "+", "COUNT", limit)])
            letters += [_letter(name, number, fields) for number, fields in entries]
        letters.sort(key=lambda letter: letter.id)
        return letters[:limit]

    def _dead_queues(self) -> list[str]:
        (names,) = self._do([("SMEMBERS", self.keys.dead_queues)])
        return sorted(name.decode() for name in names)

    def revive(self, ids: Sequence[int]) -> int:
        """See `Broker.revive`."""
        count, names = 0, self._dead_queues()
        for number in ids:
            wanted = f"{number}-0"
            for name in names:
                dead = self.keys.dead(name)
                (entries,) = self._do([("XRANGE", dead, wanted, wanted)])
                for entry, fields in entries:
                    raw = messages.fresh(_pairs(fields)[b"message"])
                    ready = self.keys.ready(
                        name, self.keys.steps[self.keys.step_of(messages.priority_of(raw))]
                    )
                    count += self.client.run(REVIVE, [dead, ready], [entry, raw])
        return count

    def purge_dead(self, queue: str | None = None) -> int:
        """See `Broker.purge_dead`."""
        count = 0
        for name in self._dead_queues() if queue is None else [queue]:
            key = self.keys.dead(name)
            gone = (("MULTI",), ("XLEN", key), ("DEL", key), ("SREM", self.keys.dead_queues, name), ("EXEC",))
            count += self._do(gone)[-1][0]
        return count

    def close(self) -> None:
        """See `Broker.close`."""
        self.client.close()


def _pairs(fields: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(fields[::2], fields[1::2], strict=True))


def _letter(queue: str, number: bytes, fields: list[bytes]) -> DeadLetter:
    said = _pairs(fields)
    delivery = messages.read(said[b"message"], queue, None)
    return DeadLetter(
        int(number.partition(b"-")[0]),
        queue,
        said[b"reason"].decode(errors="replace"),
        float(said[b"died_at"]),
        messages.as_mapping(delivery.headers),
        messages.as_mapping(delivery.properties),
        delivery.body,
    )


def _number(options: Any, name: str, default: float) -> float:
    value = options.get(name)
    if value is None:
        return default
    try:
        return float(value)
    except (TypeError, ValueError):
        raise BrokerRefused(
            f"broker_transport_options: {name} must be a number of seconds, not {value!r}"
        ) from None

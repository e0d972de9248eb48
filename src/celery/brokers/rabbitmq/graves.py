"""Dead letters: messages in `<queue>.dead`, each with the reason and a number in its headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery.brokers.base import DeadLetter
from celery.wire.amqp.errors import NOT_FOUND, Closed
from celery.wire.amqp.frames import Message
from celery.wire.amqp.values import read_properties

from .desk import publish_and_wait
from .errors import refused
from .messages import BROKERS_COUNT, DEAD_ID, DIED_AT, OWN, REASON, read_headers, with_headers
from .moves import dead_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .desk import Desk
    from .link import Link
    from .nodes import Nodes

#: Headers that a revived message loses, and that are not shown.
_GONE = OWN | {BROKERS_COUNT}


def _each(link: Link, queue: str, deadline: float, see: Callable[[Message], bool]) -> None:
    """Show every message of a queue to `see` until it returns False; what is not settled goes back afterwards."""
    seen = 0
    try:
        count = None
        while count is None or seen < count:
            answer = link.ask("basic.get", deadline, queue=queue)
            if not isinstance(answer, Message):
                break
            if count is None:
                count = 1 + int((answer.values or {}).get("message_count", 0))
            seen += 1
            if not see(answer):
                break
    except Closed as closed:
        if closed.code != NOT_FOUND:
            raise refused(link.endpoint, closed, f"cannot read {queue!r}") from closed
        return
    if seen:
        link.tell("basic.nack", deadline, delivery_tag=0, multiple=True, requeue=True)


def dead(desk: Desk, queues: Iterable[str], limit: int) -> list[DeadLetter]:
    """The dead letters of some queues, oldest first, at most `limit` in all."""
    letters: list[DeadLetter] = []

    def work(link: Link, deadline: float) -> None:
        for queue in queues:
            if len(letters) >= limit:
                return

            def see(message: Message, queue: str = queue) -> bool:
                letters.append(_letter(message, queue))
                return len(letters) < limit

            _each(link, dead_name(queue), deadline, see)

    desk.use(work)
    return letters


def _letter(message: Message, queue: str) -> DeadLetter:
    known = read_properties(message.properties)
    headers = read_headers(known.headers)
    number, died_at = headers.get(DEAD_ID), headers.get(DIED_AT)
    return DeadLetter(
        number if isinstance(number, int) else 0,
        queue,
        str(headers.get(REASON, "")),
        float(died_at) if isinstance(died_at, int | float) else 0.0,
        {key: value for key, value in headers.items() if key not in _GONE},
        known.values,
        message.body,
    )


def revive(nodes: Nodes, queues: Iterable[str], ids: Iterable[int], deadline: float) -> int:
    """Send dead letters back to their queues; return how many that were."""
    wanted = set(ids)
    revived = 0
    # A connection of its own: its channel is in transactions from the first message on.
    link = nodes.connect(deadline)
    try:
        for queue in queues:

            def see(message: Message, queue: str = queue) -> bool:
                nonlocal revived
                number = read_headers(read_properties(message.properties).headers).get(DEAD_ID)
                if number in wanted:
                    wanted.discard(number)
                    revived += _revive(link, message, queue, deadline)
                return bool(wanted)

            before = revived
            if wanted:
                _each(link, dead_name(queue), deadline, see)
            if revived > before:
                link.ask("tx.commit", deadline)
    finally:
        link.close()
    return revived


def _revive(link: Link, message: Message, queue: str, deadline: float) -> int:
    properties = with_headers(message.properties, drop=_GONE)
    if not publish_and_wait(link, "", queue, properties, message.body, deadline):
        return 0
    link.tell("basic.ack", deadline, delivery_tag=message.delivery_tag)
    return 1

"""Asking the neighbours at the start which tasks are revoked, before the first task is taken.

Whoever is alone knows that at once: nobody was bound to the exchange when the question was sent.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.app.broadcasts import Broadcaster, Command, Patience, arun_aside, call_aside
from celery.brokers.base import Broadcaster as Speaker
from celery.brokers.base import BrokerError, Unroutable
from celery.exceptions import OperationalError

from . import state as worker_state

if TYPE_CHECKING:
    from celery.app.broadcasts import Reply
    from celery.brokers.base import Consumer

    from .pidbox import Pidbox

logger = logging.getLogger("celery.worker.consumer.mingle")

#: Seconds that neighbours have to answer, and from one answer to the next.
WITHIN = 1.0
QUIET = 0.1


async def mingle(app: Any, hostname: str, consumer: Consumer, pidbox: Pidbox) -> None:
    """Ask, and remember what is said.

    Args:
        consumer: the worker's: the question goes over its connection, if its driver can do that.
        pidbox: this worker's own mailbox; opened when it is known whether anybody else has one, so that what is revoked
            between the question and the first task is heard of.
    """
    logger.info("mingle: searching for neighbors")
    sender = Broadcaster(app, aside=True)
    question = Command("hello", {"from_node": hostname, "revoked": list(worker_state.revoked)})
    try:
        alone = await _is_alone(app, sender, question, consumer)
        await pidbox.open(consumer)
        replies = (
            [] if alone else await arun_aside(lambda: sender.ask(question, Patience(WITHIN, quiet=QUIET)))
        )
    except (OperationalError, BrokerError) as error:
        logger.warning("mingle: neighbors could not be asked: %s", error)
        await pidbox.open(consumer)
        return
    answers = _answers(replies, hostname)
    if not answers:
        logger.info("mingle: all alone")
        return
    logger.info("mingle: sync with %d nodes", len(answers))
    for answer in answers:
        try:
            app.clock.adjust(answer.get("clock") or 0)
            worker_state.merge_revoked(list(answer.get("revoked") or ()))
        except (TypeError, ValueError) as error:  # of another version, perhaps
            logger.warning("mingle: an answer cannot be understood: %r", error)
    logger.info("mingle: sync complete")


async def _is_alone(app: Any, sender: Broadcaster, question: Command, consumer: Consumer) -> bool:
    """Whether nobody has heard a question."""
    if isinstance(consumer, Speaker) and app.broker_for_write() is app.broker_for_read():
        (outcome,) = await consumer.broadcast([sender.message(question, mandatory=True)])
        return isinstance(outcome, Unroutable)
    return not await call_aside(lambda: sender.send(question, mandatory=True))


def _answers(replies: list[Reply], hostname: str) -> list[dict[str, Any]]:
    return [
        answer
        for reply in replies
        for name, answer in reply.items()
        if name != hostname and isinstance(answer, dict) and "revoked" in answer
    ]

"""The worker's link to its broker: made patiently, watched, and told of in the log.

Drivers connect again by themselves after a loss. What is here decides whether they may, and how often; it says what happens, in
Celery's words.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from typing import TYPE_CHECKING

from celery.app.addresses import shown
from celery.brokers.base import BrokerError, BrokerRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.brokers.base import Broker, Consumer
    from celery.brokers.topology import Queue

    from .crew import Crew
    from .intake import Reception

logger = logging.getLogger("celery.worker.consumer")

#: Waiting before the next attempt to connect: doubling between these, with jitter.
FIRST_WAIT = 0.2
LONGEST_WAIT = 5.0
#: Seconds between attempts of a worker that has never been connected.
COLD_EVERY = 0.7


class StartFailed(Exception):
    """The worker cannot start; the message says why."""


def wait_before(attempt: int) -> float:
    """Seconds to wait after attempt number `attempt` (from 1 on) to connect has failed."""
    wait: float = min(FIRST_WAIT * 2.0 ** min(attempt - 1, 10), LONGEST_WAIT)
    return wait * random.uniform(0.75, 1.0)


class BrokerLink:
    """Connects a worker's consumer, and counts the attempts whenever it has lost its broker.

    Args:
        give_up: called with the reason when it may not, or cannot, connect again.

    Attributes:
        restart_count: how often it has been connected again.
    """

    def __init__(
        self, crew: Crew, broker: Broker, queues: Sequence[Queue], give_up: Callable[[str], None]
    ) -> None:
        self._crew = crew
        self._options = crew.options
        self._broker = broker
        self._queues = queues
        self._give_up = give_up
        self._error: BrokerError | None = None
        self._counting: asyncio.Task[None] | None = None
        self.restart_count = 0

    async def connect(self, reception: Reception) -> Consumer:
        """Connect for the first time, patiently.

        Raises:
            StartFailed: the broker says no, or trying again was forbidden or has been in vain.
        """
        options, attempt, announced_until = self._options, 0, 0.0
        worker_id = f"{options.hostname}/{os.urandom(6).hex()}"
        while True:
            consumer = self._broker.consumer(worker_id, guarded=options.guarded)
            # Orphans of dead workers may come at once; they need nothing but this.
            self._crew.settler.consumer = consumer
            try:
                await consumer.start(self._queues, reception)
            except BrokerRefused as error:
                raise StartFailed(f"consumer: Cannot connect to {self._url}: {self._cause(error)}") from error
            except BrokerError as error:
                if not options.connection_retry_on_startup:
                    raise StartFailed(_retry_disabled("broker_connection_retry_on_startup", error)) from error
                if time.monotonic() >= announced_until:
                    attempt += 1
                    announced_until = time.monotonic() + self._announce_retry(error, attempt)
                # Tried more often than said: who comes back is not kept waiting.
                left = announced_until - time.monotonic()
                await asyncio.sleep(min(left, COLD_EVERY))
            else:
                logger.info("Connected to %s", self._url)
                return consumer

    def changed(self, error: BrokerError | None) -> None:
        """The consumer lost its broker (`error`), cannot have it back for this reason, or has it again (None)."""
        trying, self._error = self._error is not None, error
        if trying and error is not None:
            return  # the next line says it
        self.close()
        if error is None:
            self.restart_count += 1
            logger.info("Connected to %s", self._url)
            self._crew.dispatcher.window = -1
            self._crew.dispatcher.pump()
            return
        if self._crew.stopping:
            return
        if not self._options.connection_retry:
            self._give_up(_retry_disabled("broker_connection_retry", error))
            return
        logger.warning(
            "consumer: Connection to broker lost. Trying to re-establish the connection... (%s)",
            self._cause(error),
            exc_info=error if logger.isEnabledFor(logging.DEBUG) else None,
        )
        self._counting = asyncio.get_running_loop().create_task(self._count_retries())

    def close(self) -> None:
        """Count no more attempts."""
        if self._counting is not None:
            self._counting.cancel()
            self._counting = None

    async def _count_retries(self) -> None:
        """The consumer tries by itself; this says so, and gives up if there is a limit."""
        attempt = 0
        try:
            while self._error is not None:
                attempt += 1
                await asyncio.sleep(self._announce_retry(self._error, attempt))
        except StartFailed as failure:
            self._give_up(str(failure))

    @property
    def _url(self) -> str:
        return shown(self._broker.url)

    def _cause(self, error: BaseException) -> str:
        """What went wrong, without the address, which the lines that say it begin with."""
        text, address = str(error), f"{self._url}: "
        while text.startswith(address):
            text = text.removeprefix(address)
        return text

    def _announce_retry(self, error: BaseException, attempt: int) -> float:
        """Log that a connection failed; return the seconds to wait.

        Raises:
            StartFailed: that was the last attempt.
        """
        most = self._options.connection_max_retries
        if most and attempt > most:
            raise StartFailed(
                f"consumer: Cannot connect to {self._url}: {self._cause(error)}. Gave up after {most} retries."
            )
        wait = wait_before(attempt)
        count = f"({attempt}/{most})" if most else f"({attempt})"
        logger.error(
            "consumer: Cannot connect to %s: %s.\nTrying again in %.2f seconds... %s\n",
            self._url,
            self._cause(error),
            wait,
            count,
        )
        return wait


def _retry_disabled(setting: str, error: BaseException) -> str:
    return (
        "Retrying to establish a connection to the message broker after a connection loss has been disabled "
        f"(app.conf.{setting}=False). Shutting down... ({error})"
    )

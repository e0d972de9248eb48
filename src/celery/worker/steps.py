"""Runs the steps that an application adds to its workers (`app.steps`); loaded where there are any.

The steps of the worker run on the extension thread. Those of the consumer have a thread and a connection of
kombu's, made when somebody asks for it: a connection may be used by one thread only.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from celery.app.addresses import shown

from .components import WorkerBlueprint
from .consumer.blueprint import ConsumerBlueprint
from .link import wait_before
from .loops import StepFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.bootsteps import Blueprint

    from .extension import ExtensionThread

logger = logging.getLogger("celery.worker.steps")

#: Seconds that the consumer's thread waits for messages before it looks whether it is to end.
LISTEN = 0.25


class UserSteps:
    """The steps of one worker.

    Args:
        controller: the `WorkController`; its core has been made.
        options: of the command line, for the steps.
    """

    def __init__(self, controller: Any, options: dict[str, Any]) -> None:
        self._controller = controller
        self._extension: ExtensionThread = controller.core.crew.extension
        steps, consumer = controller.app.steps, controller.consumer
        controller.blueprint = WorkerBlueprint(steps.get("worker"))
        consumer.blueprint = ConsumerBlueprint(steps.get("consumer"))
        controller.blueprint.apply(controller, **options)
        consumer.blueprint.apply(consumer, **options)
        self._life = ConsumerLife(consumer, consumer.blueprint, controller.core.step_failed)

    async def start_worker(self) -> None:
        """Start the worker's steps; the pool runs.

        Raises:
            StepFailed: one of them raised.
        """
        await self._extension.ask(self._start_worker)

    def _start_worker(self) -> None:
        try:
            self._controller.blueprint.start(self._controller)
        except SystemExit as request:
            self._controller.obey(request)
        except Exception as error:
            raise StepFailed from error

    async def start_consumer(self) -> None:
        """Start the consumer's steps; the worker is connected.

        Raises:
            StepFailed: one of them raised.
        """
        if self._controller.consumer.steps:
            await asyncio.wrap_future(self._life.start())

    async def stop(self, *, terminate: bool) -> None:
        """Stop the consumer's steps, then the worker's."""
        blueprint, worker = self._controller.blueprint, self._controller
        await self._extension.ask(blueprint.close, worker)
        await asyncio.wrap_future(self._life.end(terminate=terminate))
        await self._extension.ask(blueprint.stop, worker, close=False, terminate=terminate)

    async def shut_down(self) -> None:
        """The pool is gone: tell the consumer's steps."""
        await asyncio.wrap_future(self._life.shut_down())


class ConsumerLife:
    """The thread of a consumer's steps: starts them, hands out messages, and starts them again after each loss.

    Args:
        failed: called, in the thread, with what ended them untimely.
    """

    def __init__(self, consumer: Any, blueprint: Blueprint, failed: Callable[[StepFailed], None]) -> None:
        self._consumer = consumer
        self._blueprint = blueprint
        self._failed = failed
        self._ending = threading.Event()
        self._gone = threading.Event()
        self._terminate = False
        self._attempt = 0
        self._started: Future[None] = Future()
        self._stopped: Future[None] = Future()
        self._over: Future[None] = Future()
        self._thread: threading.Thread | None = None

    def start(self) -> Future[None]:
        """Begin; the future tells when every step was started, or why not."""
        self._thread = threading.Thread(target=self._run, name="celery-consumer-steps", daemon=True)
        self._thread.start()
        return self._started

    def end(self, *, terminate: bool) -> Future[None]:
        """Begin to stop; the future tells when every step has stopped."""
        self._terminate = terminate
        self._ending.set()
        if self._thread is None:
            _resolve(self._stopped)
        return self._stopped

    def shut_down(self) -> Future[None]:
        """End the thread; the future tells when it is over."""
        self._gone.set()
        if self._thread is None:
            _resolve(self._over)
        return self._over

    # -- in the thread ----------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            self._live()
        except SystemExit as request:
            self._consumer.controller.obey(request)
        except BaseException as error:  # noqa: BLE001 - user code must end its worker in order
            self._tell_failure(error)
        _resolve(self._started)
        self._blueprint.stop(self._consumer, terminate=self._terminate)
        self._consumer.disconnect()
        _resolve(self._stopped)
        self._gone.wait()
        self._blueprint.send_all(self._consumer, "shutdown", propagate=False)
        self._consumer.disconnect()
        _resolve(self._over)

    def _live(self) -> None:
        while not self._ending.is_set():
            try:
                self._blueprint.start(self._consumer)
                self._attempt = 0
                _resolve(self._started)
                self._listen()
            except self._consumer.connection_errors as error:
                self._lost(error)

    def _listen(self) -> None:
        """Hand out messages until told to end."""
        if not self._consumer.connected:  # no step asked for a connection
            self._ending.wait()
        while not self._ending.is_set():
            connection = self._consumer.connection
            if connection.heartbeat:
                connection.heartbeat_check()
            try:
                connection.drain_events(timeout=LISTEN)
            except TimeoutError as error:
                if error.errno:  # the network's, not ours
                    raise

    def _lost(self, error: BaseException) -> None:
        self._attempt += 1
        wait = wait_before(self._attempt)
        logger.warning(
            "The steps of the consumer have lost %s (%s). They are started again in %.2f seconds...",
            shown(self._consumer.app.conf.broker_read_url),
            error,
            wait,
        )
        self._blueprint.restart(self._consumer)
        self._consumer.disconnect()
        self._ending.wait(wait)

    def _tell_failure(self, error: BaseException) -> None:
        failure = StepFailed()
        failure.__cause__ = error
        if self._started.done():
            self._failed(failure)
        else:
            self._started.set_exception(failure)


def _resolve(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)

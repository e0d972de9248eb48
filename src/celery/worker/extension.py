"""The one thread on which user code of the parent process runs: signal receivers, `Request` hooks.

Never on the core's loop, so that a slow receiver cannot stop heartbeats; on one thread, so that
things are told in the order in which they happened. The thread is started by the first call. If what waits for
it becomes too much, the worker takes no more tasks until it has caught up.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("celery.worker.extension")

#: A call that takes longer than this many seconds is mentioned in the log.
SLOW = 1.0
#: So many calls may wait before the worker takes no more tasks; half as many, and it goes on.
MOST = 1000

_END = object()


class ExtensionThread:
    """Runs callables one after the other, each logged if it raises or dawdles.

    Args:
        relieved: called in the thread when it has caught up after `behind` was true.
    """

    def __init__(self, relieved: Callable[[], None] = lambda: None, name: str = "celery-extensions") -> None:
        self._name = name
        self._relieved = relieved
        self._behind = False
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def call(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Run `fun` soon; never blocks. What it returns or raises is nobody's business."""
        self._put((fun, args, kwargs, None))

    def ask(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        """Run `fun` soon; the returned future (of the running loop) gets its answer or exception."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._put((fun, args, kwargs, (loop, future)))
        return future

    @property
    def behind(self) -> bool:
        """Whether more waits than should."""
        if self._queue.qsize() < MOST:
            return False
        if not self._behind:
            self._behind = True
            logger.warning(
                "%d calls of signal receivers and request hooks wait for one that is slow: no more tasks are taken "
                "until they have caught up",
                MOST,
            )
        return True

    def stop(self, timeout: float) -> bool:
        """Run what is waiting, then end. False if that took longer than `timeout` seconds."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is None:
            return True
        self._queue.put(_END)
        thread.join(timeout)
        return not thread.is_alive()

    def _put(self, item: Any) -> None:
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        self._queue.put(item)

    def _run(self) -> None:
        while (item := self._queue.get()) is not _END:
            fun, args, kwargs, reply = item
            begin = time.monotonic()
            result: Any = None
            error: BaseException | None = None
            try:
                result = fun(*args, **kwargs)
            except BaseException as exc:  # noqa: BLE001 - user code must not end the worker
                error = exc
            if reply is not None:
                _answer(reply, result, error)
            elif error is not None:
                logger.error("%s raised: %r", _name(fun), error, exc_info=error)
            if self._behind and self._queue.qsize() < MOST // 2:
                self._behind = False
                self._relieved()
            took = time.monotonic() - begin
            if took > SLOW:
                logger.warning(
                    "%s took %.1f s; until it returned, no other hook or signal ran", _name(fun), took
                )


def _answer(
    reply: tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]], result: Any, error: BaseException | None
) -> None:
    loop, future = reply

    def resolve() -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    try:
        loop.call_soon_threadsafe(resolve)
    except RuntimeError:  # the loop has ended: nobody waits any more
        logger.debug("an answer came after the worker had ended")


def _name(fun: Callable[..., Any]) -> str:
    return str(getattr(fun, "__qualname__", None) or fun)

"""Running the coroutine of an `async def` task where no event loop of ours runs.

Each thread keeps one private loop, so that clients bound to a loop (connection pools ...) survive from task to
task. uvloop is used where it is installed.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Coroutine as CoroutineType
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator


class Interruptible(CoroutineType[Any, Any, Any]):
    """A coroutine in which an exception can be raised wherever it waits.

    It must run as the task `task`, which whoever makes it sets.
    """

    __slots__ = ("_inner", "_pending", "task")

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner
        self._pending: BaseException | None = None
        self.task: asyncio.Task[Any] | None = None

    def interrupt(self, exc: BaseException) -> None:
        """Have `exc` raised at the `await` at which the coroutine is. Call this on its loop."""
        if self.task is not None and not self.task.done():
            self._pending = exc
            self.task.cancel()

    def send(self, value: Any) -> Any:
        return self._inner.send(value)

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        exc: BaseException = (
            value if value is not None else kind if isinstance(kind, BaseException) else kind()
        )
        if self._pending is not None and isinstance(exc, asyncio.CancelledError):
            exc, self._pending = self._pending, None
            if self.task is not None:
                self.task.uncancel()
        return self._inner.throw(exc)

    def close(self) -> None:
        self._inner.close()

    # Awaited inside of another coroutine, it is driven like a generator.
    def __await__(self) -> Generator[Any, Any, Any]:
        return self  # it has all that `await` uses

    def __iter__(self) -> Interruptible:
        return self

    def __next__(self) -> Any:
        return self._inner.send(None)


#: By thread: the coroutine that runs on its private loop now.
_running: dict[int, tuple[asyncio.AbstractEventLoop, Interruptible]] = {}


class _Own(threading.local):
    loop: asyncio.AbstractEventLoop | None = None
    pid = 0


_own = _Own()


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end from code that is not a coroutine, and return its result.

    In a thread that runs an event loop already (an eager task called from a coroutine) it runs in
    another thread, while this one waits.
    """
    if _is_looping():
        context = contextvars.copy_context()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="celery-eager") as executor:
            return executor.submit(context.run, asyncio.run, coroutine).result()
    loop, ident = _loop(), threading.get_ident()
    outer = Interruptible(coroutine)
    outer.task = loop.create_task(outer)
    _running[ident] = loop, outer
    try:
        return loop.run_until_complete(outer.task)
    finally:
        _running.pop(ident, None)


def interrupt(exc: BaseException, ident: int) -> bool:
    """Raise an exception in the coroutine that `run` runs in thread `ident`, at the `await` at which it is.

    Safe from any thread and from a signal handler.

    Returns:
        False if no coroutine runs there.
    """
    found = _running.get(ident)
    if found is None:
        return False
    loop, coroutine = found
    try:
        loop.call_soon_threadsafe(coroutine.interrupt, exc)
    except RuntimeError:
        return False  # the loop was closed
    return True


def is_waiting(ident: int) -> bool:
    """Whether a coroutine runs in a thread by `run`, and is not executing code of its own at this moment."""
    found = _running.get(ident)
    return found is not None and asyncio.current_task(found[0]) is not found[1].task


async def in_thread(needed: bool, fun: Callable[..., Any], *args: Any) -> Any:
    """Call `fun` in a thread of the running loop's executor, or right here if that is not `needed`."""
    if not needed:
        return fun(*args)
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(None, context.run, fun, *args)


def is_cancelled_from_outside(exc: BaseException) -> bool:
    """Whether a coroutine was cancelled by who runs it, rather than by itself."""
    if not isinstance(exc, asyncio.CancelledError):
        return False
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0


def close_loop() -> None:
    """Close this thread's loop, if it has one."""
    loop, _own.loop = _own.loop, None
    if loop is not None and not loop.is_closed():
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _is_looping() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _loop() -> asyncio.AbstractEventLoop:
    loop = _own.loop
    # A loop that was made before a fork belongs to the parent.
    if loop is None or loop.is_closed() or _own.pid != os.getpid():
        loop = _own.loop = _new_loop()
        _own.pid = os.getpid()
    return loop


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()

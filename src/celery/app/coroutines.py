"""Running the coroutine of an `async def` task where no event loop of ours runs.

Each thread keeps one private loop, so that clients bound to a loop (connection pools ...) survive from task to
task. uvloop is used where it is installed.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


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
    return _loop().run_until_complete(coroutine)


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

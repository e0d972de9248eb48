"""Blocking work for the tasks of event loops: a thread does it, for all that wait at once in one go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor


class Aside:
    """One thread, begun when first needed.

    Args:
        serve: does what waits, until a deadline (`time.monotonic()`), and tells each call by what `made` gave to `put`.
    """

    def __init__(self, serve: Callable[[float], None]) -> None:
        self._serve = serve
        self._executor: ThreadPoolExecutor | None = None
        self._coming = False

    async def made(self, put: Callable[[Callable[[Any], None]], None], deadline: float) -> None:
        """Have a call made; return when it was.

        Args:
            put: puts the call among those that wait; it gets what to call when the call was made, from any thread.
        """
        import asyncio  # noqa: PLC0415 - a program that only calls `delay` need not load it

        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not future.done():
                future.set_result(None)

        def tell(call: Any) -> None:
            try:
                loop.call_soon_threadsafe(settle)
            except RuntimeError:
                return  # the loop was closed meanwhile: nobody waits

        put(tell)
        if not self._coming:
            self._coming = True
            try:
                self._submit(deadline)
            except BaseException:  # there may be no more threads at present
                self._coming = False
                raise
        await future

    def _submit(self, deadline: float) -> None:
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as above

            self._executor = ThreadPoolExecutor(1, thread_name_prefix="celery-publish")
        self._executor.submit(self._run, deadline)

    def _run(self, deadline: float) -> None:
        self._coming = False
        self._serve(deadline)

    def close(self) -> None:
        """End the thread when it has done what it does."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True)

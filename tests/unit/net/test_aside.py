"""Blocking work for event loops, done by one thread."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from celery.net.aside import Aside

pytestmark = pytest.mark.timeout(30)


def test_a_call_that_found_no_thread_does_not_stop_those_after_it():
    waiting = []

    def serve(deadline):
        while waiting:
            waiting.pop()(None)

    async def main():
        aside = Aside(serve)
        before = threading.stack_size(1 << 46)  # more than there is: threads cannot be started
        try:
            with pytest.raises(RuntimeError):
                await aside.made(waiting.append, time.monotonic() + 10)
        finally:
            threading.stack_size(before)
        await aside.made(waiting.append, time.monotonic() + 10)
        aside.close()

    asyncio.run(main())

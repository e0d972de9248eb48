"""A lane in the main thread, while signals come."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def test_a_signal_that_does_not_end_the_sleep_is_heard():
    """As one that comes just before the thread falls asleep: here it is handed to another thread."""
    code = """
        import os, queue, signal, threading
        from types import SimpleNamespace
        from celery.concurrency.lane import Lane

        jobs = queue.SimpleQueue()
        signal.signal(signal.SIGUSR2, lambda signum, frame: jobs.put(None))
        asleep = threading.Event()

        class Jobs:
            def get(self, timeout=None):
                asleep.set()
                return jobs.get(timeout=timeout)

        def other():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
            asleep.wait()
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
            threading.Event().wait()

        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        threading.Thread(target=other, daemon=True).start()
        nobody = SimpleNamespace(set_current=lambda: None, post=lambda *items: None)
        Lane(nobody, Jobs(), nobody, lambda: None).work(0.05)
        print("heard")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "heard\n", done.stderr

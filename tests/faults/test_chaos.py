"""Promise 18: mixed load while children and workers are killed at random."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time

import pytest

from tests.faults.ledger import TASKS, Ledger, send
from tests.support import wait_until


def chaos(project, ledger, *, seconds, seed):
    """Send and kill for a while; then one worker remains and everything must end."""
    # One unlucky task may well die five times here: that it is given up then is another test's subject.
    project.env["TEST_CONF"] = json.dumps({"task_max_deliveries": 0})
    rng = random.Random(seed)
    ids: list[str] = []
    killed_workers = killed_children = 0
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(project.worker("-n", f"w{n}@h")) for n in range(2)]
        survivor = stack.enter_context(project.worker("-n", "survivor@h"))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if len(ids) - len(ledger.ended) < 400:  # a load, not a flood
                naps = [rng.choice([0, 0, 0.01, 0.05, 0.2]) for _ in range(60)]
                ids += send(project, f"print(*[stubborn.delay(s).id for s in {naps}])")
            running = list(ledger.running)
            if running and rng.random() < 0.7:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(ledger.pid_of(rng.choice(running)), signal.SIGKILL)
                    killed_children += 1
            if rng.random() < 0.4:
                index = rng.randrange(len(workers))
                workers[index].send(signal.SIGKILL)
                workers[index].wait()
                killed_workers += 1
                workers[index] = stack.enter_context(project.worker("-n", f"w{index}@h"))
        stopped = time.monotonic()
        ledger.wait_for(ids)
        print(f"all done {time.monotonic() - stopped:.1f} s after the last kill")
        assert survivor.process.poll() is None
        drained = "from tasks import app; print(app.broker_for_read().size('celery'))"
        wait_until(lambda: project.python(drained).strip() == "0")
    repeats = sum(count - 1 for count in ledger.begun.values())
    return len(ids), repeats, killed_children, killed_workers


@pytest.fixture
def ledger(project, site):
    project.write("tasks.py", TASKS)
    return Ledger(project)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.timeout(120)
def test_a_few_seconds_of_chaos(project, ledger, seed):
    total, repeats, children, workers = chaos(project, ledger, seconds=6, seed=seed)
    assert total
    assert repeats <= children + 2 * 2 * workers, "only running tasks are repeated"


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 105))
def test_a_minute_of_chaos(project, ledger, seed):
    total, repeats, children, workers = chaos(project, ledger, seconds=60, seed=seed)
    print(f"{total} tasks, {children} children and {workers} workers killed, {repeats} repeats")
    assert repeats <= children + 2 * 2 * workers

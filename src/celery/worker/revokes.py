"""Revoking: what must not run is taken out of this worker, wherever in it that is; what runs may be ended.

Everything here happens on the worker's loop. Ids and stamps are remembered in `celery.worker.state`, so what comes later is
discarded when it comes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.worker import state as worker_state

from .discards import discard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .crew import Crew
    from .runs import Run

logger = logging.getLogger("celery.worker.control")


class CannotTerminate(Exception):
    """The pool has no way to end a running task."""


def revoke(crew: Crew, ids: Iterable[str]) -> None:
    """Run none of these. What runs already goes on."""
    ids = set(ids)
    for task_id in ids:
        worker_state.revoked.add(task_id)
    withdraw(crew, lambda run: run.id in ids)
    unknown = [task_id for task_id in ids if task_id not in crew.state.ids]
    if unknown:
        crew.errands.start(crew.recorder.mark_revoked(unknown))


def revoke_stamped(crew: Crew, headers: Mapping[str, Any]) -> None:
    """Run nothing that carries one of these stamps."""
    worker_state.revoke_stamps(headers)
    withdraw(crew, lambda run: bool(worker_state.revoked_by(run.headers.stamps)))


def withdraw(crew: Crew, picks: Callable[[Run], bool]) -> None:
    """Discard what has not begun to run."""
    running = crew.pool.running()
    recall = False
    for run in list(crew.state.runs.values()):
        if run.revoked or run.tag in running or not picks(run):
            continue
        run.revoked = True
        if run.active:  # inside a slot, behind others
            recall = True
        elif crew.dispatcher.drop(run):
            crew.errands.start(discard(crew, run))
    if recall:
        crew.dispatcher.recall()


def terminate(crew: Crew, picks: Callable[[Run], bool], signum: int) -> list[str]:
    """End those that run; return the ids of all that were here, running, waiting or parked.

    Raises:
        CannotTerminate: the pool cannot do that.
    """
    here, stubborn = [], []
    running = crew.pool.running()
    for run in list(crew.state.runs.values()):
        if not picks(run):
            continue
        if run.tag in running:
            run.terminated = signum
            logger.info("Terminating %s (%s)", run.id, signum)
            if not crew.pool.terminate(run.tag, signum):
                run.terminated = None
                stubborn.append(run.id)
                continue
        elif run.active and crew.pool.terminate(run.tag, signum):
            run.terminated = (
                signum  # behind others in a process: should it begin this instant, it is ended all the same
            )
        here.append(run.id)
    if stubborn:
        raise CannotTerminate(
            f"this pool cannot terminate a task that runs: {', '.join(sorted(stubborn))} run to the end"
        )
    return here

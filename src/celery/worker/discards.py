"""Ending a delivery without running it: revoked, or expired."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .acks import AGAIN, DONE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .crew import Crew
    from .runs import Run

logger = logging.getLogger("celery.worker.strategy")


async def is_held(crew: Crew, run: Run) -> bool:
    """Wait until the message is known to be ours: a result is stored only for what is held. False if it is not."""
    held = run.delivery.held
    if held is None or await held:
        return True
    crew.state.remove(run)
    crew.dispatcher.uncount(run)
    crew.dispatcher.pump()
    return False


async def discard(
    crew: Crew, run: Run, *, expired: bool = False, stamps: Mapping[str, Any] | None = None
) -> None:
    """Record that a run was revoked, or has expired; then it is done.

    Args:
        stamps: by which it was revoked, if not by its id.
    """
    if not await is_held(crew, run):
        return
    why = f" (revoked by header: {dict(stamps)})" if stamps else ""
    logger.info("Discarding revoked task: %s[%s]%s", run.name, run.id, why)
    stored = await crew.recorder.revoked(run, expired=expired)
    crew.settler.settle(run, DONE if stored else AGAIN)
    crew.dispatcher.pump()


async def record_terminated(crew: Crew, run: Run, signum: int) -> None:
    """Record that a run was ended because somebody revoked it while it ran; then it is done."""
    logger.info("Task %s[%s] was terminated", run.name, run.id)
    stored = await crew.recorder.revoked(run, signum=signum)
    if stored:
        crew.settler.settle(run, DONE)
    elif run.begun:
        crew.settler.leave(run)
    else:
        crew.settler.settle(run, AGAIN)
    crew.dispatcher.pump()

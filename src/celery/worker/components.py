"""The parts of a worker as steps of users know them: places in the order, for `requires`.

The core runs these parts by itself; none of these steps does anything.
"""

from __future__ import annotations

from typing import Any

from celery.bootsteps import Blueprint, Step


class Part(Step):
    """A part that the core runs."""

    def include(self, parent: Any) -> bool:
        """It is there, whatever steps there are."""
        return False


class Timer(Part):
    """`worker.timer`."""


class Hub(Part):
    """The core's loop."""

    requires = (Timer,)


class Pool(Part):
    """Where tasks run."""

    requires = (Hub,)


class StateDB(Part):
    """Where revoked ids are kept."""


class Beat(Part):
    """Where a worker's own beat is."""

    conditional = True


class Consumer(Part):
    """What takes messages: every other step comes before it."""

    last = True


class WorkerBlueprint(Blueprint):
    """The steps of a worker."""

    name = "Worker"
    default_steps = (Timer, Hub, Pool, StateDB, Beat, "celery.worker.autoscale:WorkerComponent", Consumer)

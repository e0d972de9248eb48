"""`WorkerComponent`: a place in the order of a worker's steps."""

from __future__ import annotations

from .components import Part, Pool


class WorkerComponent(Part):
    """Where the size of the pool is looked after."""

    label = "Autoscaler"
    conditional = True
    requires = (Pool,)

"""`Agent`: a place in the order of a consumer's steps."""

from __future__ import annotations

from celery.worker.components import Part

from .connection import Connection


class Agent(Part):
    """Where `worker_agent` has its place."""

    conditional = True
    requires = (Connection,)

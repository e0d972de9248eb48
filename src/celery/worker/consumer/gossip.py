"""`Gossip`: a place in the order of a consumer's steps."""

from __future__ import annotations

from celery.worker.components import Part

from .mingle import Mingle


class Gossip(Part):
    """Where workers hear of one another."""

    requires = (Mingle,)

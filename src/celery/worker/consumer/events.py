"""`Events`: a place in the order of a consumer's steps."""

from __future__ import annotations

from celery.worker.components import Part

from .connection import Connection


class Events(Part):
    """Where events are sent."""

    requires = (Connection,)

"""`Tasks`: a place in the order of a consumer's steps."""

from __future__ import annotations

from celery.worker.components import Part

from .mingle import Mingle


class Tasks(Part):
    """Where messages of tasks are consumed."""

    requires = (Mingle,)

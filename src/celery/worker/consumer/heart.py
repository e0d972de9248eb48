"""`Heart`: a place in the order of a consumer's steps."""

from __future__ import annotations

from celery.worker.components import Part

from .events import Events


class Heart(Part):
    """Where signs of life are sent."""

    requires = (Events,)

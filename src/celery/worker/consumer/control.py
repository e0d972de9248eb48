"""`Control`: a place in the order of a consumer's steps."""

from __future__ import annotations

from celery.worker.components import Part

from .tasks import Tasks


class Control(Part):
    """Where commands are heard."""

    requires = (Tasks,)

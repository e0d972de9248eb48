"""`DelayedDelivery`: a place in the order of a consumer's steps."""

from __future__ import annotations

from celery.worker.components import Part

from .tasks import Tasks


class DelayedDelivery(Part):
    """Where delayed messages come from."""

    requires = (Tasks,)

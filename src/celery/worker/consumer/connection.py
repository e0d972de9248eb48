"""`Connection`: a place in the order of a consumer's steps."""

from __future__ import annotations

from celery.worker.components import Part


class Connection(Part):
    """The connection to the broker."""

"""The task by which `start_worker` sees that its worker runs tasks. Importing this module adds it to every app."""

from __future__ import annotations

from celery import shared_task

__all__ = ("ping",)


@shared_task(name="celery.ping")
def ping() -> str:
    """Answer `pong`."""
    return "pong"

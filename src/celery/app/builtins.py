"""Tasks that every app has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery._state import connect_on_app_finalize

if TYPE_CHECKING:
    from celery.app.base import Celery


@connect_on_app_finalize
def add_backend_cleanup_task(app: Celery) -> Any:
    """Add `celery.backend_cleanup`: let the result backend delete what has expired."""

    @app.task(name="celery.backend_cleanup", shared=False, lazy=False)
    def backend_cleanup() -> None:
        app.backend.cleanup()

    return backend_cleanup

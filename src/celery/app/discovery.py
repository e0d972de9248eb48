"""Finding modules of tasks in packages: now, or when tasks are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.signals import import_modules

if TYPE_CHECKING:
    from celery.app.base import Celery


def discover(app: Celery, packages: Any, related_name: str | None) -> None:
    """Import `related_name` of each package. See `Celery.autodiscover_tasks`."""
    names = packages() if callable(packages) else packages
    if names:
        app.loader.autodiscover_tasks(names, related_name)
        return
    for fixup in app._fixups:
        if hasattr(fixup, "autodiscover_tasks"):
            app.loader.autodiscover_tasks(fixup.autodiscover_tasks(), related_name)


def discover_later(app: Celery, packages: Any, related_name: str | None) -> None:
    """`discover` when the app's modules are imported."""

    def receive(**_: Any) -> None:
        discover(app, packages, related_name)

    import_modules.connect(receive, weak=False, sender=app)

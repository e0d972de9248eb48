"""Django: found by the environment variable `DJANGO_SETTINGS_MODULE`.

In every process the project's folder is importable, the clock is Django's, calls can wait for a transaction
(`delay_on_commit`), and `autodiscover_tasks()` knows the installed applications. In a worker Django is set up and
checked before tasks are imported, and database connections and caches are closed around tasks as Django does
around requests.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from celery import signals
from celery.exceptions import FixupWarning, ImproperlyConfigured

if TYPE_CHECKING:
    from datetime import datetime

    from celery.app.base import Celery

__all__ = ("DjangoFixup", "fixup")

ERR_NOT_INSTALLED = """\
Environment variable DJANGO_SETTINGS_MODULE is defined
but Django isn't installed.  Won't apply Django fix-ups!
"""


def fixup(app: Celery, env: str = "DJANGO_SETTINGS_MODULE") -> DjangoFixup | None:
    """Adapt `app` to Django if the environment names a settings module; None if it does not.

    Raises:
        ImproperlyConfigured: Django is older than 1.11.
    """
    if not os.environ.get(env) or "django" in str(app.loader_cls).lower():
        return None
    try:
        django = import_module("django")
    except ImportError:
        warnings.warn(FixupWarning(ERR_NOT_INSTALLED), stacklevel=2)
        return None
    if django.VERSION < (1, 11):
        raise ImproperlyConfigured("Celery 5.x requires Django 1.11 or later.")
    return DjangoFixup(app).install()


class DjangoFixup:
    """What every process of a Django project needs.

    Args:
        app: the app to adapt.
    """

    def __init__(self, app: Celery) -> None:
        self.app = app
        self._worker_fixup: DjangoWorkerFixup | None = None

    def install(self) -> DjangoFixup:
        """Connect to the app's signals."""
        # A management command is run from elsewhere; the project is in the current folder.
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        self.app.loader.now = self.now
        if not self.app._custom_task_cls_used:
            self.app.task_cls = "celery.contrib.django.task:DjangoTask"
        signals.import_modules.connect(self.on_import_modules, sender=self.app)
        signals.worker_init.connect(self.on_worker_init)
        return self

    @property
    def worker_fixup(self) -> DjangoWorkerFixup:
        """What workers need besides; made when a worker starts."""
        if self._worker_fixup is None:
            self._worker_fixup = DjangoWorkerFixup(self.app)
        return self._worker_fixup

    @worker_fixup.setter
    def worker_fixup(self, value: DjangoWorkerFixup) -> None:
        self._worker_fixup = value

    def on_import_modules(self, **_: Any) -> None:
        """Set Django up before the project's modules are imported."""
        import_module("django").setup()
        self.worker_fixup.validate_models()

    def on_worker_init(self, sender: Any = None, **_: Any) -> None:
        """Take care of connections, in the worker of this app."""
        if sender is not None and getattr(sender, "app", self.app) is not self.app:
            return
        self.worker_fixup.install()

    def now(self, utc: bool = False) -> datetime:
        """The time, as Django has it."""
        if utc:
            from datetime import UTC, datetime  # noqa: PLC0415 - the name is taken for type checkers

            return datetime.now(UTC)
        return cast("datetime", import_module("django.utils.timezone").now())

    def autodiscover_tasks(self) -> list[str]:
        """The installed applications, for `Celery.autodiscover_tasks`."""
        apps = import_module("django.apps").apps
        return [config.name for config in apps.get_app_configs()]


class DjangoWorkerFixup:
    """Database connections and caches in a worker.

    Args:
        app: the worker's app.
    """

    _db_recycles = 0

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.db_reuse_max = self.app.conf.get("CELERY_DB_REUSE_MAX", None)
        self._db = import_module("django.db")
        self._cache = import_module("django.core.cache")
        self.interface_errors = (self._db.InterfaceError,)
        self.DatabaseError = self._db.DatabaseError

    def validate_models(self) -> None:
        """Run Django's system checks, unless told not to (`--skip-checks`)."""
        import_module("django").setup()
        if not os.environ.get("CELERY_SKIP_CHECKS"):
            import_module("django.core.checks").run_checks()

    def install(self) -> DjangoWorkerFixup:
        """Connect to what happens in a worker."""
        signals.beat_embedded_init.connect(self.close_database)
        signals.task_prerun.connect(self.on_task_prerun)
        signals.task_postrun.connect(self.on_task_postrun)
        signals.worker_process_init.connect(self.on_worker_process_init)
        self.close_database()
        self.close_cache()
        return self

    def on_worker_process_init(self, **_: Any) -> None:
        """In a pool's child: connections that were inherited are the parent's. Their sockets are closed here
        without a word to the server, so that the parent can go on with them."""
        for connection in self._db.connections.all():
            try:
                if connection.connection is not None:
                    _close_descriptor(connection.connection)
            except self.interface_errors:
                continue
            connection.connection = None
        self._close_database()
        self.close_cache()

    def on_task_prerun(self, sender: Any, **_: Any) -> None:
        """Before a task: connections that have gone stale are closed."""
        if not getattr(sender.request, "is_eager", False):
            self.close_database()

    def on_task_postrun(self, sender: Any, **_: Any) -> None:
        """After a task, as Django does after a request."""
        if not getattr(sender.request, "is_eager", False):
            self.close_database()
            self.close_cache()

    def close_database(self, **_: Any) -> None:
        """Close connections; with `CELERY_DB_REUSE_MAX` only after so many tasks."""
        if not self.db_reuse_max:
            self._close_database()
            return
        if self._db_recycles >= self.db_reuse_max * 2:
            self._db_recycles = 0
            self._close_database()
        self._db_recycles += 1

    def _close_database(self) -> None:
        for connection in self._db.connections.all():
            try:
                connection.close_if_unusable_or_obsolete()
            except self.interface_errors:
                pass
            except self.DatabaseError as exc:
                if "closed" not in str(exc) and "not connected" not in str(exc):
                    raise

    def close_cache(self) -> None:
        """Close caches."""
        self._cache.close_caches()


def _close_descriptor(connection: Any) -> None:
    """Close the socket of a raw database connection, if it has one."""
    fileno = getattr(connection, "fileno", None)
    if callable(fileno):
        os.close(fileno())

"""Fixtures for the tests of projects.

Switched on by `pytest_plugins = ("celery.contrib.pytest",)` in `conftest.py`, or by `-p celery.contrib.pytest`.

    >>> def test_mul(celery_app, celery_worker):
    ...     @celery_app.task
    ...     def mul(x, y):
    ...         return x * y
    ...     assert mul.delay(4, 4).get(timeout=10) == 16
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from celery import Celery

#: With this environment variable set, no worker is started: the worker fixtures give None.
NO_WORKER = os.environ.get("NO_WORKER")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "celery(**settings): settings of this test's celery_app, stronger than celery_config"
    )


# -- what projects override


@pytest.fixture(scope="session")
def use_celery_app_trap() -> bool:
    """Override it with True: a test fails that uses the current app and has no `depends_on_current_app`."""
    return False


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """Override it to change the settings of the apps; default: broker and results in memory."""
    return {}


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """Override it to change the arguments of `Celery`."""
    return {}


@pytest.fixture(scope="session")
def celery_enable_logging() -> bool:
    """Override it with True: workers set logging up."""
    return False


@pytest.fixture(scope="session")
def celery_includes() -> Sequence[str]:
    """Override it to name modules that are imported before a worker starts."""
    return ()


@pytest.fixture(scope="session")
def celery_class_tasks() -> list[Any]:
    """Override it to register task classes with the app of `celery_session_worker`."""
    return []


@pytest.fixture(scope="session")
def celery_worker_pool() -> Any:
    """Override it to choose the workers' pool."""
    return "solo"


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """Override it to change the arguments of `celery.contrib.testing.worker.start_worker`."""
    return {}


# -- what tests use


@pytest.fixture(scope="session")
def celery_session_app(
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Celery]:
    """An app for all tests; the current and the default app, unless there is a trap."""
    with _test_app(celery_config, celery_parameters, celery_enable_logging, use_celery_app_trap) as app:
        if not use_celery_app_trap:
            app.set_default()
            app.set_current()
        yield app


@pytest.fixture(scope="session")
def celery_session_worker(
    celery_session_app: Celery,
    celery_includes: Sequence[str],
    celery_class_tasks: Sequence[Any],
    celery_worker_pool: Any,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[Any]:
    """A worker of `celery_session_app` for all tests."""
    for task in celery_class_tasks:
        celery_session_app.register_task(task)
    with _worker(celery_session_app, celery_includes, celery_worker_pool, celery_worker_parameters) as worker:
        yield worker


@pytest.fixture
def celery_app(
    request: pytest.FixtureRequest,
    celery_config: Mapping[str, Any],
    celery_parameters: Mapping[str, Any],
    celery_enable_logging: bool,
    use_celery_app_trap: bool,
) -> Iterator[Celery]:
    """An app for one test. It is made current by a worker, or by `depends_on_current_app`."""
    mark = request.node.get_closest_marker("celery")
    config = {**celery_config, **(mark.kwargs if mark is not None else {})}
    with _test_app(config, celery_parameters, celery_enable_logging, use_celery_app_trap) as app:
        yield app


@pytest.fixture
def celery_worker(
    celery_app: Celery,
    celery_includes: Sequence[str],
    celery_worker_pool: Any,
    celery_worker_parameters: Mapping[str, Any],
) -> Iterator[Any]:
    """A worker of `celery_app` for one test."""
    with _worker(celery_app, celery_includes, celery_worker_pool, celery_worker_parameters) as worker:
        yield worker


@pytest.fixture
def depends_on_current_app(celery_app: Celery) -> None:
    """Make `celery_app` the current app."""
    celery_app.set_current()


# The modules of celery are imported by those who use a fixture, not by every run of pytest that knows of them.


@contextmanager
def _test_app(
    config: Mapping[str, Any], parameters: Mapping[str, Any], enable_logging: bool, trap: bool
) -> Iterator[Celery]:
    from celery.contrib.testing.app import TestApp, setup_default_app  # noqa: PLC0415 - see above

    arguments = {"enable_logging": enable_logging, "set_as_current": False, **parameters}
    app = TestApp(config=config, **arguments)
    try:
        with setup_default_app(app, use_trap=trap):
            yield app
    finally:
        app.close()


@contextmanager
def _worker(app: Celery, includes: Sequence[str], pool: Any, parameters: Mapping[str, Any]) -> Iterator[Any]:
    if NO_WORKER:
        yield None
        return
    from celery.contrib.testing.worker import start_worker  # noqa: PLC0415 - see above

    for module in includes:
        app.loader.import_task_module(module)
    with start_worker(app, **{"pool": pool, **parameters}) as worker:
        yield worker

"""Fixtures of the unit tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery import _state

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _process_state() -> Iterator[None]:
    """Tasks of one test's apps are no tasks of the next test's, and no app stays current."""
    constructors = set(_state._on_app_finalizers)
    apps = set(_state._get_active_apps())
    current, default = _state._tls.current_app, _state.default_app
    yield
    _state._on_app_finalizers.intersection_update(constructors)
    for app in set(_state._get_active_apps()) - apps:
        _state._deregister_app(app)
    _state._tls.current_app, _state.default_app = current, default

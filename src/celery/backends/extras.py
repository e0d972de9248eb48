"""Libraries that only some stores need."""

from __future__ import annotations

import importlib
from typing import Any

from celery.exceptions import ImproperlyConfigured


def need(library: str, *, extra: str, store: str) -> Any:
    """Import a library.

    Args:
        library: the module.
        extra: which bundle of ours brings it.
        store: what needs it, for the message.

    Raises:
        ImproperlyConfigured: it is not installed; the message says what to do.
    """
    try:
        return importlib.import_module(library)
    except ImportError as exc:
        raise ImproperlyConfigured(
            f"Results in {store} need {library.partition('.')[0]} ({exc}): pip install 'celery[{extra}]'"
        ) from None

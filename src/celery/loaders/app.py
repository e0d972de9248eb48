"""The loader of applications that are made by calling `Celery(...)`."""

from __future__ import annotations

from .base import BaseLoader

__all__ = ("AppLoader",)


class AppLoader(BaseLoader):
    """Reads configuration only from where the application says, or from `CELERY_CONFIG_MODULE`."""

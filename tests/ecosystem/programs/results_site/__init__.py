"""A Django project with results in its database (django-celery-results)."""

from .celery import app as celery_app

__all__ = ("celery_app",)

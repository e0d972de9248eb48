"""Observers: who wants to know that something happened."""

from celery.utils.dispatch.signal import Signal

__all__ = ("Signal",)

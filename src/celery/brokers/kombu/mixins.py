"""kombu's classes for those who derive from them."""

from __future__ import annotations

from kombu.mixins import ConsumerMixin

__all__ = ("ConsumerMixin",)

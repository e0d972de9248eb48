"""`Consumer`: what receivers of worker signals get as their sender."""

from __future__ import annotations

from .consumer import Consumer

__all__ = ["Consumer"]

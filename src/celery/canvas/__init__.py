"""Calls as data: `Signature` and what is composed of signatures. Every name's public home is here."""

from __future__ import annotations

from celery._public import publish

from .signatures import Signature, maybe_signature, signature, subtask

__all__ = ("Signature", "maybe_signature", "signature", "subtask")

publish(globals(), "Signature", "maybe_signature", "signature")

"""Calls as data: `Signature` and what is composed of signatures. Every name's public home is here."""

from __future__ import annotations

from celery._public import publish

from .chains import _chain, chain
from .chords import _chord, chord
from .groups import group, maybe_unroll_group
from .maps import chunks, xmap, xstarmap
from .signatures import Signature, maybe_signature, signature, subtask
from .stamping import StampingVisitor

__all__ = (
    "Signature",
    "StampingVisitor",
    "_chain",
    "_chord",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "maybe_unroll_group",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
)

publish(
    globals(),
    "Signature",
    "StampingVisitor",
    "_chain",
    "_chord",
    "chain",
    "chunks",
    "group",
    "maybe_signature",
    "maybe_unroll_group",
    "signature",
    "xmap",
    "xstarmap",
)

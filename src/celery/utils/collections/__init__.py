"""Collections that the standard library lacks: layered mappings, sets that forget, buffers with a limit."""

from __future__ import annotations

from celery._public import publish

from .buffers import BufferMap, Evictable, Messagebuffer, OrderedDict
from .limited import LimitedSet
from .mappings import (
    AttributeDict,
    AttributeDictMixin,
    ChainMap,
    ConfigurationView,
    DictAttribute,
    force_mapping,
    lpmerge,
)

__all__ = (
    "AttributeDict",
    "AttributeDictMixin",
    "BufferMap",
    "ChainMap",
    "ConfigurationView",
    "DictAttribute",
    "Evictable",
    "LimitedSet",
    "Messagebuffer",
    "OrderedDict",
    "force_mapping",
    "lpmerge",
)

publish(globals())

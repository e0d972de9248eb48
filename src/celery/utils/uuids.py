"""Identifiers: random (version 4) UUIDs as strings, made in batches.

One `os.urandom` call serves 256 of them, which is five times faster than `str(uuid.uuid4())`. A child
process must not continue its parent's batch, so a fork empties it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

_BATCH = 256

#: Ready ones. `pop` and `extend` of a list are atomic, so threads can share it.
_ready: list[str] = []


def _refill() -> str:
    digits = os.urandom(16 * _BATCH).hex()
    fresh = []
    for at in range(0, 32 * _BATCH, 32):
        h = digits[at : at + 32]
        # Version 4, variant 10: the two hexadecimal digits that are not random.
        variant = "89ab"[int(h[16], 16) & 3]
        fresh.append(f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{variant}{h[17:20]}-{h[20:]}")
    first = fresh.pop()
    _ready.extend(fresh)
    return first


def uuid(_uuid: Callable[[], UUID] | None = None) -> str:
    """A new unique id, for instance `'0d6b1c3e-6a2f-4a8e-9d5c-3f2b7e1a9c40'`.

    Args:
        _uuid: makes the UUID instead.
    """
    if _uuid is not None:
        return str(_uuid())
    try:
        return _ready.pop()
    except IndexError:
        return _refill()


gen_unique_id = uuid

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ready.clear)

"""How results in the same Redis check that a worker still holds a message (see `Delivery.claim`).

A hold is a field of a hash: whoever takes a message away from its worker, because that one is dead, removes the field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings import Settings

#: Between the hash and the field; neither has it.
_BETWEEN = "\n"


def prefix(settings: Settings) -> str:
    """What all claims on messages in this Redis begin with."""
    if settings.sentinel is not None:
        where = settings.sentinel.master_name
    else:
        where = ",".join(str(target.place) for target in settings.targets)
    return f"redis:{where}/{settings.database}:"


def claim(prefix: str, key: str, field: str) -> str:
    """The claim of whoever put `field` into the hash `key`."""
    return f"{prefix}{key}{_BETWEEN}{field}"


def split(rest: str) -> tuple[str, str]:
    """Hash and field of a claim without its prefix; empty for an empty one."""
    key, _, field = rest.partition(_BETWEEN)
    return key, field

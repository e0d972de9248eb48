"""How results in the same Redis check that a worker still holds a message (see `Delivery.claim`).

A hold is a field of a hash: whoever takes a message away from its worker, because that one is dead, removes the field. Only
a server that has lost everything has lost the field too; it has another era then, and nobody else has the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .settings import Settings

#: Between the parts; none of them has it.
_BETWEEN = "\n"


class Claim(NamedTuple):
    """A claim without its prefix.

    Attributes:
        hash, field: what must exist,
        era_key, era: as long as this key has this value.
    """

    hash: str = ""
    era_key: str = ""
    era: str = ""
    field: str = ""


_NONE = Claim()


def prefix(settings: Settings) -> str:
    """What all claims on messages in this Redis begin with; "" if results cannot check them there."""
    if settings.cluster:
        return ""  # they are in another slot
    if settings.sentinel is not None:
        where = settings.sentinel.master_name
    else:
        where = ",".join(str(target.place) for target in settings.targets)
    return f"redis:{where}/{settings.database}:"


def beginning(prefix: str, hash_key: str, era_key: str, era: str) -> str:
    """A claim up to its field, which follows."""
    return f"{prefix}{hash_key}{_BETWEEN}{era_key}{_BETWEEN}{era}{_BETWEEN}" if prefix else ""


def parse(rest: str) -> Claim:
    """The claim that this is, without its prefix."""
    return Claim(*rest.split(_BETWEEN, 3)) if rest else _NONE

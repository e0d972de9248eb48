"""What one call of a workflow sends at once: first messages, and chords to open before.

A workflow is gone through once (`Signature._plan`); what is found is sent together, in as few round trips as
the broker allows. The rest of the workflow travels in the messages, or is stored before (`graphs`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Send(msgspec.Struct, frozen=True):
    """One message: what `Task.apply_async` takes."""

    signature: Any
    args: Any
    kwargs: Mapping[str, Any]
    options: dict[str, Any]


class Opening(msgspec.Struct, frozen=True):
    """A chord whose header is about to be sent.

    Attributes:
        size: members that will report.
        header: the `GroupResult` of the header.
        body: what to call with their results; frozen.
        options: of the call, for backends that can only poll.
    """

    group_id: str
    size: int
    header: Any
    body: Any
    options: Mapping[str, Any]


class Plan(msgspec.Struct):
    """Everything that a call sends, in order."""

    sends: list[Send] = msgspec.field(default_factory=list)
    openings: list[Opening] = msgspec.field(default_factory=list)
    #: What messages refer to: a name, and parts of the workflow.
    kept: list[tuple[str, Sequence[Any]]] = msgspec.field(default_factory=list)

    def send(self, signature: Any, args: Any, kwargs: Mapping[str, Any], options: dict[str, Any]) -> None:
        """Add a message."""
        # The workflow as a whole is a child of the task that calls it, its messages are not.
        self.sends.append(Send(signature, args, kwargs, {**options, "add_to_parent": False}))

    def keep(self, name: str, parts: Sequence[Any]) -> None:
        """Add something that is to be stored before anything is sent."""
        self.kept.append((name, parts))

    def open(self, opening: Opening) -> None:
        """Add a chord."""
        self.openings.append(opening)

"""What follows in a chain, as the text that it came as.

Every task of a chain carries the signatures of all that follow. Each step needs one of them and passes the others on, so a
worker neither decodes nor encodes those: a chain of a hundred would cost each step a tenth of a millisecond both ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from . import json, serializers

if TYPE_CHECKING:
    from collections.abc import Sequence


class Steps:
    """The option `chain` of a message, as JSON: the steps to come, the last first.

    Args:
        texts: one JSON object each.
    """

    __slots__ = ("_texts",)

    def __init__(self, texts: Sequence[msgspec.Raw]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def next(self) -> tuple[dict[str, Any], Steps]:
        """The step that follows, and what follows that."""
        *rest, last = self._texts
        return json.loads(bytes(last)), Steps(rest)

    def value(self) -> list[dict[str, Any]]:
        """As the list that everybody else knows."""
        return [json.loads(bytes(text)) for text in self._texts]

    def text(self) -> bytes:
        """As a JSON array."""
        return b"[" + b",".join(self._texts) + b"]"


def as_list(chain: Any) -> Any:
    """The option `chain` as a list, whatever it is."""
    return chain.value() if type(chain) is Steps else chain


class _Chained(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """What a step embeds."""

    chain: list[msgspec.Raw] | None = None
    callbacks: list[dict[str, Any]] | None = None
    errbacks: list[dict[str, Any]] | None = None
    chord: dict[str, Any] | None = None


_BRACE = b"{"[0]
_decode = msgspec.json.Decoder(tuple[list[Any], dict[str, Any], _Chained]).decode


def chained_arguments(body: bytes) -> tuple[list[Any], dict[str, Any], dict[str, Any]] | None:
    """Arguments, and what is embedded (`chain` as `Steps`, if there is any), of a JSON body in its usual shape without extended
    types, that of a part of a workflow. None: `decode_body` says what is in it, or wrong with it."""
    if not serializers.json_is_ours() or json.may_be_extended(body):
        return None
    try:
        args, kwargs, embed = _decode(body)
        if not body.isascii():
            body.decode()  # what stays text was only skipped
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    chain = embed.chain
    if chain and any(memoryview(text)[0] != _BRACE for text in chain):
        return None
    carried = {"callbacks": embed.callbacks, "errbacks": embed.errbacks, "chord": embed.chord}
    return args, kwargs, {**carried, "chain": Steps(chain) if chain else chain}

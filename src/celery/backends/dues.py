"""Notes of what is due to be sent, by which anybody can send it should who owes it die."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from celery.exceptions import EncodeError
from celery.message import json, serializers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery.app.base import Celery

#: What a signature that JSON cannot write has instead of itself: content type, encoding, bytes.
_PACKED = "celeriac_packed"


class Due(NamedTuple):
    """The body of a chord, or a member that was added, that has to be sent.

    Attributes:
        body: the signature in dict form.
        parent_id: the member that was the last, or that adds another.
        added: the id of what is added; "": it is the body.
    """

    group_id: str
    body: Mapping[str, Any]
    root_id: str | None
    parent_id: str | None
    added: str = ""

    @property
    def note_id(self) -> str:
        """What its note is called by."""
        return f"added-{self.added}" if self.added else self.group_id


def written(app: Celery, due: Due) -> str:
    """The note, in ASCII.

    Raises:
        EncodeError: no serializer of `accept_content` can write the signature.
    """
    try:
        return json.text(due)
    except TypeError as exc:
        return json.text(due._replace(body=_packed(app, due.body, exc)))


def _packed(app: Celery, sig: Mapping[str, Any], exc: TypeError) -> dict[str, Any]:
    """With what its message could be read it can be written."""
    for accepted in app.conf.accept_content:
        try:
            return {_PACKED: serializers.dumps(sig, serializers.name_of(accepted))}
        except EncodeError:
            continue
    raise EncodeError(f"{sig.get('task')} is due, but cannot be noted: {exc}") from exc


def read(app: Celery, note: bytes | str) -> Due:
    """What was `written`."""
    due = Due(*json.loads(note))
    packed = due.body.get(_PACKED)
    if packed is None:
        return due
    content_type, encoding, payload = packed
    accept = serializers.prepare_accept_content(app.conf.accept_content)
    return due._replace(body=serializers.loads(payload, content_type, encoding, accept=accept))

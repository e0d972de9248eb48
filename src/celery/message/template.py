"""Message headers and properties by string formatting.

Of the headers of a task's messages most are the same in every one. A `Template` has those as
finished JSON and puts the rest between: 2 microseconds instead of 9 for the dict and its
encoding (`python -m benchmarks.messages`). The text says what `build_v2` says, field for field and in its order;
a property test holds them together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import json
from .headers import LazyObject
from .steps import Steps

if TYPE_CHECKING:
    from collections.abc import Mapping

_quote = json.quote

#: The end of nearly every body, and whole bodies' commonest.
NO_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_NO_EMBED = ',{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'
_EMPTY_BODY = ("[[],{}" + _NO_EMBED).encode()


def json_body(args: Any, kwargs: Any, embed: Mapping[str, Any] | None = None) -> bytes:
    """The body of protocol 2 as JSON.

    Args:
        embed: None if there is nothing to embed.

    Raises:
        TypeError, ValueError: something in it has no JSON form.
    """
    if embed is not None:
        return (
            json.dumps((args, kwargs, embed))
            if type(embed.get("chain")) is not Steps
            else _chained(args, kwargs, embed)
        )
    if not args and not kwargs:
        return _EMPTY_BODY
    named = json.text(kwargs) if kwargs else "{}"
    return f"[{json.text(args)},{named}{_NO_EMBED}".encode()


def _chained(args: Any, kwargs: Any, embed: Mapping[str, Any]) -> bytes:
    text = json.text
    before = f'[{text(args)},{text(kwargs)},{{"callbacks":{text(embed["callbacks"])},"errbacks":{text(embed["errbacks"])},"chain":'
    return b"".join((before.encode(), embed["chain"].text(), f',"chord":{text(embed["chord"])}}}]'.encode()))


class Template:
    """What the messages of one task, sent with the same options, have in common.

    Args:
        timelimit: hard and soft limit.
        reply_to: where results go, if by message.
        compression: content type, if bodies are compressed.
        priority: None leaves it out.
    """

    __slots__ = (
        "_argsrepr_on",
        "_head",
        "_id_to_rest",
        "_origin_to_nesting",
        "_plain_middle",
        "_props",
        "_props_end",
        "_tail",
    )

    def __init__(
        self,
        name: str,
        *,
        shadow: str | None = None,
        timelimit: tuple[float | None, float | None] = (None, None),
        origin: str | None = None,
        ignore_result: bool | None = False,
        reply_to: str = "",
        content_type: str = "application/json",
        content_encoding: str = "utf-8",
        delivery_mode: int = 2,
        compression: str | None = None,
        priority: int | None = None,
    ) -> None:
        text = json.text
        self._head = f'{{"lang":"py","task":{text(name)},"id":'
        self._id_to_rest = f',"shadow":{text(shadow)},"eta":'
        self._argsrepr_on = f',"timelimit":{text(list(timelimit))},"root_id":'
        self._origin_to_nesting = (
            f',"origin":{text(origin)},"ignore_result":{text(ignore_result)},"replaced_task_nesting":'
        )
        packed = f',"compression":{text(compression)}' if compression else ""
        #: Of a message that is nobody's child, in no group, neither late nor tried before.
        self._plain_middle = f'{self._id_to_rest}null,"expires":null,"group":null,"group_index":null,"retries":0{self._argsrepr_on}'
        self._tail = f',"stamped_headers":null,"stamps":{{}}{packed}}}'
        self._props = f'{{"content_type":{text(content_type)},"content_encoding":{text(content_encoding)},"correlation_id":'
        urgency = f',"priority":{text(priority)}' if priority is not None else ""
        self._props_end = f',"reply_to":{text(reply_to)},"delivery_mode":{delivery_mode}{urgency}'

    def headers(
        self,
        task_id: str,
        argsrepr: str,
        kwargsrepr: str,
        *,
        eta: str | None = None,
        expires: str | None = None,
        group_id: str | None = None,
        group_index: int | None = None,
        retries: int = 0,
        root_id: str | None = None,
        parent_id: str | None = None,
        replaced_task_nesting: int = 0,
    ) -> LazyObject:
        """The headers of one message."""
        own = _quote(task_id)
        plain = (
            eta is None and expires is None and group_id is None and group_index is None and parent_id is None
        )
        if plain and not (retries or root_id or replaced_task_nesting):
            return LazyObject(
                raw=(
                    f'{self._head}{own}{self._plain_middle}{own},"parent_id":null,"argsrepr":{_quote(argsrepr)},'
                    f'"kwargsrepr":{_quote(kwargsrepr)}{self._origin_to_nesting}0{self._tail}'
                ).encode("ascii")
            )
        root = own if root_id is None or root_id == task_id else _quote(root_id)
        return LazyObject(
            raw=(
                f"{self._head}{own}{self._id_to_rest}"
                f'{"null" if eta is None else _quote(eta)},"expires":'
                f'{"null" if expires is None else _quote(expires)},"group":'
                f'{"null" if group_id is None else _quote(group_id)},"group_index":'
                f'{"null" if group_index is None else group_index},"retries":{retries}{self._argsrepr_on}{root},"parent_id":'
                f'{"null" if parent_id is None else _quote(parent_id)},"argsrepr":{_quote(argsrepr)},"kwargsrepr":'
                f"{_quote(kwargsrepr)}{self._origin_to_nesting}{replaced_task_nesting}{self._tail}"
            ).encode("ascii")
        )

    def properties(self, task_id: str, expiration: str | None = None) -> LazyObject:
        """The properties of one message.

        Args:
            expiration: milliseconds.
        """
        ttl = f',"expiration":"{expiration}"' if expiration is not None else ""
        return LazyObject(raw=f"{self._props}{_quote(task_id)}{self._props_end}{ttl}}}".encode("ascii"))

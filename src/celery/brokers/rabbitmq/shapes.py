"""Task messages between table and JSON by their shape, without taking them apart.

Nearly all messages have the headers of protocol 2, in Celery's order, and differ in a few values. One regular expression
finds these; the rest is constant. A message of another shape gives None here and goes the long way (see
`messages`), with the same outcome: a property test holds the two together.
"""

from __future__ import annotations

import re
import struct

from celery.message import json

_quote = json.quote
_u32 = struct.Struct(">I")
_i32 = struct.Struct(">i")
_six = struct.Struct(">6I")

# -- from a table


def _key(name: str) -> bytes:
    return re.escape(bytes((len(name),)) + name.encode())


def _text(name: str) -> bytes:
    return _key(name) + b"S(....)(.*?)"


def _maybe(name: str) -> bytes:
    return _key(name) + b"(?:V|S(....)(.*?))"


_TABLE = re.compile(
    b"".join(
        (
            b"....",
            _key("lang") + b"S" + re.escape(b"\x00\x00\x00\x02py"),
            _text("task"),
            _text("id"),
            _maybe("shadow"),
            _maybe("eta"),
            _maybe("expires"),
            _maybe("group"),
            _key("group_index") + b"(?:V|I(....))",
            _key("retries") + b"I(....)",
            _key("timelimit") + b"A" + re.escape(b"\x00\x00\x00\x02VV"),
            _text("root_id"),
            _maybe("parent_id"),
            _text("argsrepr"),
            _text("kwargsrepr"),
            _text("origin"),
            _key("ignore_result") + b"(?:V|t(.))",
            _key("replaced_task_nesting") + b"I(....)",
            _key("stamped_headers") + b"V",
            _key("stamps") + b"F" + re.escape(b"\x00\x00\x00\x00"),
        )
    ),
    re.DOTALL,
)


def json_of_table(table: bytes) -> bytes | None:
    """The headers of a task as JSON text; None if they have another shape."""
    found = _TABLE.fullmatch(table)
    if found is None:
        return None
    (
        task_n, task, id_n, id_, shadow_n, shadow, eta_n, eta, expires_n, expires, group_n, group, index, retries,
        root_n, root, parent_n, parent, args_n, args, kwargs_n, kwargs, origin_n, origin, ignore, nesting,
    ) = found.groups()  # fmt: skip
    # What lies between two keys may hold what looks like a key: the lengths tell.
    sizes = _six.unpack(b"".join((task_n, id_n, root_n, args_n, kwargs_n, origin_n)))
    if sizes != (len(task), len(id_), len(root), len(args), len(kwargs), len(origin)):
        return None
    for size, text in (
        (shadow_n, shadow),
        (eta_n, eta),
        (expires_n, expires),
        (group_n, group),
        (parent_n, parent),
    ):
        if size is not None and _u32.unpack(size)[0] != len(text):
            return None
    if _u32.unpack_from(table)[0] != len(table) - 4:
        return None
    try:
        own = _quote(id_.decode())
        return (
            f'{{"lang":"py","task":{_quote(task.decode())},"id":{own},"shadow":{_null(shadow)},"eta":{_null(eta)},'
            f'"expires":{_null(expires)},"group":{_null(group)},"group_index":{_number(index)},'
            f'"retries":{_i32.unpack(retries)[0]},"timelimit":[null,null],'
            f'"root_id":{own if root == id_ else _quote(root.decode())},"parent_id":{_null(parent)},'
            f'"argsrepr":{_quote(args.decode())},"kwargsrepr":{_quote(kwargs.decode())},'
            f'"origin":{_quote(origin.decode())},"ignore_result":{_truth(ignore)},'
            f'"replaced_task_nesting":{_i32.unpack(nesting)[0]},"stamped_headers":null,"stamps":{{}}}}'
        ).encode("ascii")
    except UnicodeDecodeError:
        return None


def _null(text: bytes | None) -> str:
    return "null" if text is None else _quote(text.decode())


def _number(raw: bytes | None) -> str:
    return "null" if raw is None else str(_i32.unpack(raw)[0])


def _truth(raw: bytes | None) -> str:
    return "null" if raw is None else "false" if raw == b"\x00" else "true"


# -- into a table

_WORD = rb'"([^"\\\x80-\xff]*)"'
_WORD_OR_NULL = rb'(?:null|"([^"\\\x80-\xff]*)")'
_ANY = rb'"((?:[^"\\\x80-\xff]|\\.)*)"'

_HEADERS = re.compile(
    rb'\{"lang":"py","task":' + _WORD + rb',"id":' + _WORD
    + b"".join(rb',"%s":' % name + _WORD_OR_NULL for name in (b"shadow", b"eta", b"expires", b"group"))
    + rb',"group_index":(null|\d{1,9}),"retries":(\d{1,9}),"timelimit":\[null,null\],"root_id":' + _WORD
    + rb',"parent_id":' + _WORD_OR_NULL + rb',"argsrepr":' + _ANY + rb',"kwargsrepr":' + _ANY + rb',"origin":' + _WORD
    + rb',"ignore_result":(null|true|false),"replaced_task_nesting":(\d{1,9}),"stamped_headers":null,"stamps":\{\}\}'
)  # fmt: skip


def _label(name: str) -> bytes:
    return bytes((len(name),)) + name.encode()


_LANG_TASK = _label("lang") + b"S\x00\x00\x00\x02py" + _label("task")
_ID, _SHADOW, _ETA, _EXPIRES, _GROUP, _INDEX, _RETRIES = map(
    _label, ("id", "shadow", "eta", "expires", "group", "group_index", "retries")
)
_LIMITS_ROOT = _label("timelimit") + b"A\x00\x00\x00\x02VV" + _label("root_id")
_PARENT, _ARGS, _KWARGS, _ORIGIN = map(_label, ("parent_id", "argsrepr", "kwargsrepr", "origin"))
_IGNORE = {
    b"null": _label("ignore_result") + b"V",
    b"true": _label("ignore_result") + b"t\x01",
    b"false": _label("ignore_result") + b"t\x00",
}
_NESTING = _label("replaced_task_nesting")
_STAMPS = _label("stamped_headers") + b"V" + _label("stamps") + b"F\x00\x00\x00\x00"
_pack = _u32.pack


def table_of_json(raw: bytes) -> bytes | None:
    """The headers of a task as a table with its length; None if the text has another shape."""
    found = _HEADERS.fullmatch(raw)
    if found is None:
        return None
    (
        task, id_, shadow, eta, expires, group, index, retries,
        root, parent, args, kwargs, origin, ignore, nesting,
    ) = found.groups()  # fmt: skip
    body = b"".join(
        (
            *(_LANG_TASK, _string(task), _ID, _string(id_), _SHADOW, _optional(shadow), _ETA, _optional(eta)),
            *(_EXPIRES, _optional(expires), _GROUP, _optional(group), _INDEX),
            *(b"V" if index == b"null" else _integer(index), _RETRIES, _integer(retries)),
            *(_LIMITS_ROOT, _string(root), _PARENT, _optional(parent)),
            *(
                _ARGS,
                _string(_unescaped(args)),
                _KWARGS,
                _string(_unescaped(kwargs)),
                _ORIGIN,
                _string(origin),
            ),
            *(_IGNORE[ignore], _NESTING, _integer(nesting), _STAMPS),
        )
    )
    return _pack(len(body)) + body


_REPRS = re.compile(rb',"argsrepr":' + _ANY + rb',"kwargsrepr":' + _ANY)


def reprs_of_json(raw: bytes) -> bytes | None:
    """The texts of a task's arguments, out of the middle of its headers, as fields of a table."""
    found = _REPRS.fullmatch(raw)
    if found is None:
        return None
    args, kwargs = found.groups()
    return b"".join((_ARGS, _string(_unescaped(args)), _KWARGS, _string(_unescaped(kwargs))))


def _string(text: bytes) -> bytes:
    return b"S" + _pack(len(text)) + text


def _optional(text: bytes | None) -> bytes:
    return b"V" if text is None else b"S" + _pack(len(text)) + text


def _integer(digits: bytes) -> bytes:
    return b"I" + _pack(int(digits))


def _unescaped(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    decoded: str = json.loads(b'"' + text + b'"')
    return decoded.encode("utf-8", "surrogatepass")


# -- properties

_PROPERTIES = re.compile(
    rb'\{"content_type":' + _WORD + rb',"content_encoding":' + _WORD + rb',"correlation_id":' + _WORD
    + rb',"reply_to":' + _WORD + rb',"delivery_mode":([12])(?:,"priority":(\d{1,3}))?(?:,"expiration":' + _WORD + rb")?\}"
)  # fmt: skip
_FLAGS = struct.Struct(">HB")
#: content_type, content_encoding, headers, delivery_mode, correlation_id, reply_to.
_USUAL = 1 << 15 | 1 << 14 | 1 << 13 | 1 << 12 | 1 << 10 | 1 << 9
_PRIORITY = 1 << 11
_EXPIRATION = 1 << 8


def properties_of_json(raw: bytes, table: bytes, priority: int) -> bytes | None:
    """The properties of a task message; None if the text has another shape.

    Args:
        table: the headers.
        priority: of the message, if its properties name none.
    """
    found = _PROPERTIES.fullmatch(raw)
    if found is None:
        return None
    kind, encoding, correlation, reply_to, mode, named, expiration = found.groups()
    if max(map(len, (kind, encoding, correlation, reply_to))) > 255:
        return None
    flags = _USUAL
    urgency = ttl = b""
    if named is not None or priority:
        flags |= _PRIORITY
        urgency = bytes((min(max(int(named) if named is not None else priority, 0), 255),))
    if expiration is not None:
        flags |= _EXPIRATION
        ttl = bytes((len(expiration),)) + expiration
    return b"".join(
        (
            *(_FLAGS.pack(flags, len(kind)), kind, bytes((len(encoding),)), encoding, table),
            *(b"\x02" if mode == b"2" else b"\x01", urgency, bytes((len(correlation),)), correlation),
            *(bytes((len(reply_to),)), reply_to, ttl),
        )
    )


_CORRELATED = 1 << 15 | 1 << 14 | 1 << 12 | 1 << 10
_REPLY_TO = 1 << 9
_HEADERS_FLAG = 1 << 13
_KNOWN = _CORRELATED | _REPLY_TO | _HEADERS_FLAG | _PRIORITY
_kinds: dict[bytes, str] = {}


def json_of_properties(data: bytes) -> bytes | None:
    """Properties as JSON text, headers left out; None if others than the usual ones are there.

    Args:
        data: flags and list, as `find_headers` has found to be whole.
    """
    try:
        flags = data[0] << 8 | data[1]
        if flags & _CORRELATED != _CORRELATED or flags & ~_KNOWN:
            return None
        at = 4 + data[2]
        at += data[at - 1]
        kind = data[2:at]
        if flags & _HEADERS_FLAG:
            at += 4 + _u32.unpack_from(data, at)[0]
        mode = data[at]
        at += 1
        urgency = ""
        if flags & _PRIORITY:
            urgency = f'"priority":{data[at]},'
            at += 1
        end = at + 1 + data[at]
        correlation = _quote(data[at + 1 : end].decode())
        reply_to = ""
        if flags & _REPLY_TO:
            stop = end + 1 + data[end]
            reply_to = f',"reply_to":{_quote(data[end + 1 : stop].decode())}'
            end = stop
        if end != len(data):
            return None
        start = _kinds.get(kind) or _kind(kind)
    except (IndexError, UnicodeDecodeError, struct.error):
        return None
    return f'{start}"delivery_mode":{mode},{urgency}"correlation_id":{correlation}{reply_to}}}'.encode(
        "ascii"
    )


def _kind(raw: bytes) -> str:
    """The beginning of the text, which few different messages have."""
    middle = 1 + raw[0]
    made = (
        f'{{"content_type":{_quote(raw[1:middle].decode())},'
        f'"content_encoding":{_quote(raw[middle + 1 :].decode())},'
    )
    if len(_kinds) < 100:
        _kinds[raw] = made
    return made

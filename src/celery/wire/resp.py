"""Redis' protocol (RESP2 and RESP3), without any I/O.

`pack` makes the bytes of a command. A `Parser` is fed whatever arrived and gives replies: bytes, int, float, bool,
None, list, dict, `ErrorReply` (a value here, not raised), and `Push` for what the server says unasked (messages of
subscriptions, invalidations). The work is done by hiredis, which comes with the `redis` extra.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import hiredis

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Argument = bytes | str | int | float
    Command = Sequence[Argument]

#: What the server says unasked: a list whose first item names the kind (`b"message"`, `b"invalidate"`, ...).
Push = hiredis.PushNotification

pack_command: Any = hiredis.pack_command
_TEXT = frozenset({str, bytes})


class ProtocolError(Exception):
    """What arrived is not Redis' protocol: the connection is of no more use."""


#: How Redis before 7 tells of a command that failed in a script:
#: `ERR Error running script (call to f_...): @user_script:1: @user_script: 1: -OOM command not allowed ...`
_IN_SCRIPT = re.compile(r"ERR Error running script .*@user_script: ?\d+: -([A-Z]+) ", re.DOTALL)


class ErrorReply(Exception):
    """Redis answered with an error.

    Attributes:
        code: its first word, as `WRONGPASS`, `OOM`, `NOSCRIPT`; that of the command if it failed in a script.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        inner = _IN_SCRIPT.match(text)
        self.code = inner[1] if inner else text.partition(" ")[0]


def pack(*arguments: Argument) -> bytes:
    """The bytes of one command.

    >>> pack('GET', b'key')
    b'*2\\r\\n$3\\r\\nGET\\r\\n$3\\r\\nkey\\r\\n'
    """
    return pack_command(arguments)  # type: ignore[no-any-return]


def pack_all(commands: Iterable[Command]) -> bytes:
    """The bytes of several commands, to be sent in one write."""
    # hiredis makes text of numbers itself, but crashes if a signal's handler raises just then, as that of a soft time
    # limit does.
    return b"".join(
        [
            pack_command(tuple([part if type(part) in _TEXT else str(part) for part in command]))
            for command in commands
        ]
    )


#: What `Parser.get` gives when no reply is complete.
INCOMPLETE: Any = object()


class Parser:
    """Turns a stream of bytes into replies."""

    __slots__ = ("feed", "get")

    def __init__(self) -> None:
        reader = hiredis.Reader(protocolError=ProtocolError, replyError=ErrorReply, notEnoughData=INCOMPLETE)
        #: The next reply, or `INCOMPLETE`.
        self.get = reader.gets
        #: Takes the bytes that arrived.
        self.feed = reader.feed

    def replies(self) -> Iterator[Any]:
        """Every reply that is complete, once.

        Raises:
            ProtocolError: the stream makes no sense.
        """
        get = self.get
        while (reply := get()) is not INCOMPLETE:
            yield reply

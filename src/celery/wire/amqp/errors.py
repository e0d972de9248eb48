"""What goes wrong in AMQP, and what its numbers mean."""

from __future__ import annotations


class ProtocolError(Exception):
    """The peer sent what is no AMQP: the connection is of no more use."""


class Closed(Exception):
    """The peer closed a channel or the connection, and said why.

    Attributes:
        code: a reply code.
        text: the broker's words.
        method: name of the method it objected to, if any.
    """

    def __init__(self, code: int, text: str, method: str = "") -> None:
        super().__init__(code, text, method)
        self.code = code
        self.text = text
        self.method = method

    def __str__(self) -> str:
        name = REPLIES.get(self.code)
        said = self.text or name or "no reason given"
        where = f" (in {self.method})" if self.method else ""
        return f"{said}{where}" if name is None or name in said else f"{self.code} {name}: {said}{where}"


class ChannelClosed(Closed):
    """One channel was closed; the connection lives."""


class ConnectionClosed(Closed):
    """The whole connection was closed in order."""


#: Reply codes by number.
REPLIES = {
    200: "REPLY_SUCCESS",
    311: "CONTENT_TOO_LARGE",
    312: "NO_ROUTE",
    313: "NO_CONSUMERS",
    320: "CONNECTION_FORCED",
    402: "INVALID_PATH",
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    405: "RESOURCE_LOCKED",
    406: "PRECONDITION_FAILED",
    501: "FRAME_ERROR",
    502: "SYNTAX_ERROR",
    503: "COMMAND_INVALID",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    506: "RESOURCE_ERROR",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
    541: "INTERNAL_ERROR",
}

CONNECTION_FORCED = 320
ACCESS_REFUSED = 403
NOT_FOUND = 404
RESOURCE_LOCKED = 405
PRECONDITION_FAILED = 406
NOT_ALLOWED = 530
NOT_IMPLEMENTED = 540
INTERNAL_ERROR = 541

#: Trying the same again will give the same answer.
FINAL = frozenset({ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED, NOT_ALLOWED, NOT_IMPLEMENTED})

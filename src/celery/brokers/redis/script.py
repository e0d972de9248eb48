"""Lua scripts, named by the hash of their text so that the text is sent once."""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    # As `random` does: `hashlib` would bring OpenSSL's digests along, half a megabyte in every worker.
    from _sha1 import sha1  # type: ignore[import-not-found]
except ImportError:
    from hashlib import sha1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery.wire.resp import Argument, Command


class Script:
    """A script. `call` makes its command; clients send the text if the server does not know it (`NOSCRIPT`).

    Args:
        text: Lua.
    """

    _known: dict[str, Script] = {}  # noqa: RUF012 - shared on purpose: by hash, for the fall-back

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        self._known[self.sha] = self

    def call(self, keys: Sequence[Argument], arguments: Sequence[Argument] = ()) -> Command:
        """The command that runs it.

        >>> Script("return 1").call(["k"], [5])[2:]
        (1, 'k', 5)
        """
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)

    @classmethod
    def in_full(cls, command: Command) -> Command | None:
        """The same call with the text in it; None if it is not one of a script we know."""
        script = cls._known.get(str(command[1])) if command[0] == "EVALSHA" else None
        return None if script is None else ("EVAL", script.text, *command[2:])

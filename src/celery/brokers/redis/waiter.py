"""The connection on which an idle worker waits for a message: `BLMOVE` from one list to a private one.

The message is never out of the server: if this worker dies before it has adopted it, a reaper finds it in the private list.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from celery.wire.resp import ErrorReply, pack

from .aio import Link
from .locate import Found

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.brokers.base import BrokerError

    from .desk import Place
    from .settings import Settings, Target

#: Seconds that one `BLMOVE` waits at most: then it is sent again, which shows that the connection still is one.
WAIT = 30.0


class Waiter:
    """Waits on one list at a time.

    Args:
        on_message: called with the list, and the message or None if none came.
        on_lost: the connection has ended.
    """

    def __init__(
        self,
        settings: Settings,
        on_message: Callable[[Place, bytes | None], None],
        on_lost: Callable[[BrokerError], None],
    ) -> None:
        self._settings = settings
        self._on_message = on_message
        self._on_lost = on_lost
        self._link: Link | None = None
        self._place: Place | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.client_id = 0
        self.unblocking = False

    async def connect(self, target: Target) -> None:
        """Connect. Raises `BrokerError`."""
        self._link = await Link.open(self._settings, Found(target), on_lost=self._lost)
        self.client_id = int(self._link.hello.get(b"id", 0))

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._link is not None and self._link.is_open

    @property
    def place(self) -> Place | None:
        """The list it waits on."""
        return self._place

    def arm(self, place: Place, pending: str, patience: float) -> None:
        """Wait for a message of this list.

        Args:
            patience: seconds that it waits, and then after which a connection that does not answer is given up.
        """
        assert self._link is not None
        assert self._place is None
        self._place = place
        self.unblocking = False
        wait = min(WAIT, patience)
        self._link.write(
            pack("BLMOVE", place.ready, pending, "RIGHT", "LEFT", f"{wait:.1f}"), 1, self._answered
        )
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(wait + patience, self._silent, self._link)

    def _silent(self, link: Link) -> None:
        link.abort("no answer in time")

    def _answered(self, replies: list[Any]) -> None:
        place, self._place = self._place, None
        self._disarm_timer()
        assert place is not None
        (reply,) = replies
        if isinstance(reply, ErrorReply):
            # UNBLOCKED when the master has become a replica, WRONGTYPE, ...: begin anew.
            assert self._link is not None
            self._link.abort(str(reply))
            return
        self._on_message(place, reply)

    def _lost(self, error: BrokerError) -> None:
        self._link = None
        self._place = None
        self._disarm_timer()
        self._on_lost(error)

    def _disarm_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Close the connection, without `on_lost`."""
        self._disarm_timer()
        self._place = None
        link, self._link = self._link, None
        if link is not None:
            link.close()

"""What SQS lends for `visibility_timeout` is asked for again while it is held, so that a task may be longer than that."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .drainer import Held

logger = logging.getLogger("celery.brokers.kombu")

#: SQS takes so many in one request.
_AT_ONCE = 10
#: Seconds until it is tried again after an error.
_AGAIN = 1.0


class Visibility:
    """Renews what one channel holds.

    Args:
        channel: kombu's, of SQS.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._seconds = int(channel.visibility_timeout)
        self._next = time.monotonic() + self._seconds / 3

    @classmethod
    def of(cls, channel: Any) -> Visibility | None:
        """For a channel; None if its transport lends nothing for a time."""
        return cls(channel) if hasattr(channel, "sqs") and int(channel.visibility_timeout) > 0 else None

    def left(self) -> float:
        """Seconds until `renew` should be called."""
        return max(self._next - time.monotonic(), 0.0)

    def renew(self, held: Iterable[Held]) -> None:
        """Have all of these for `visibility_timeout` from now on. What SQS refuses is logged: it is offered again."""
        now = time.monotonic()
        receipts: dict[tuple[str, str], list[str]] = defaultdict(list)
        for one in held:
            info = one.message.delivery_info
            receipts[one.delivery.queue, info["sqs_queue"]].append(info["sqs_message"]["ReceiptHandle"])
        try:
            for (queue, url), handles in receipts.items():
                for start in range(0, len(handles), _AT_ONCE):
                    self._extend(queue, url, handles[start : start + _AT_ONCE])
        except Exception as error:  # noqa: BLE001 - whatever boto raises; what is held is still ours for a while
            logger.warning("Could not extend the visibility of messages at SQS, trying again: %s", error)
            self._next = now + min(_AGAIN, self._seconds / 3)
        else:
            self._next = now + self._seconds / 3

    def _extend(self, queue: str, url: str, handles: list[str]) -> None:
        entries = [
            {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": self._seconds}
            for number, handle in enumerate(handles)
        ]
        answer = self._channel.sqs(queue=queue).change_message_visibility_batch(QueueUrl=url, Entries=entries)
        refused = answer.get("Failed")
        if refused:
            logger.warning(
                "SQS would not extend the visibility of %d messages of %s, and offers them again: %s",
                len(refused),
                queue,
                refused[0].get("Message") or refused[0].get("Code"),
            )

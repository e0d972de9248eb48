"""Acknowledgements of one channel, put together: pure bookkeeping.

What is settled in one round of the loop is said at once. Everything up to the oldest message that is still out goes
in one frame, however many they are; only what was settled out of order has frames of its own.
"""

from __future__ import annotations

from celery.wire.amqp.frames import acknowledgement, method


class Acks:
    """Knows which deliveries are out.

    Args:
        channel: on which they came.
    """

    __slots__ = ("_back", "_channel", "_done", "_out")

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._out: dict[int, None] = {}  # in order: tags only grow
        self._done: set[int] = set()
        self._back: list[int] = []

    def __len__(self) -> int:
        return len(self._out)

    def received(self, tag: int) -> None:
        """A delivery came in."""
        self._out[tag] = None

    def ack(self, tag: int) -> None:
        """It is done with."""
        self._done.add(tag)

    def give_back(self, tag: int) -> None:
        """It goes back to its queue."""
        self._back.append(tag)

    def flush(self) -> bytes:
        """Frames for what was said since the last call."""
        out = self._out
        parts = [
            method(self._channel, "basic.nack", delivery_tag=tag, requeue=True)
            for tag in self._back
            if out.pop(tag, tag) is None
        ]
        self._back.clear()
        done = self._done
        if done:
            passed = []
            for tag in out:
                if tag not in done:
                    break
                passed.append(tag)
            for tag in passed:
                del out[tag]
            done.difference_update(passed)
            if passed:
                parts.append(acknowledgement(self._channel, passed[-1], len(passed) > 1))
            parts += [
                acknowledgement(self._channel, tag) for tag in sorted(done) if out.pop(tag, tag) is None
            ]
            done.clear()
        return b"".join(parts)

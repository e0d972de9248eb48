"""Pauses between attempts."""

from __future__ import annotations

from celery.net.backoff import Backoff


def test_doubles_up_to_the_longest_and_starts_again():
    backoff = Backoff(first=1.0, longest=5.0, jitter=0.0)
    assert [backoff.next() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.next() == 1.0


def test_jitter_only_shortens():
    backoff = Backoff(first=1.0, longest=1.0, jitter=0.5)
    assert all(0.5 <= backoff.next() <= 1.0 for _ in range(100))

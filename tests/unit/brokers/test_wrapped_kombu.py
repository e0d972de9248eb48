"""What those see who have wrapped the sending of kombu's producers."""

from __future__ import annotations

import pytest

from celery import Celery


@pytest.mark.parametrize("seconds", [0.5, 1, 60, 3600])
def test_wrappers_see_when_a_message_expires(monkeypatch, seconds):
    """In kombu's unit, which is seconds."""
    messaging = pytest.importorskip("kombu.messaging")
    original, seen = messaging.Producer.publish, []

    def publish(self, *args, **kwargs):
        seen.append(kwargs["expiration"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(messaging.Producer, "publish", publish)
    app = Celery(broker="memory://", set_as_current=False)
    app.send_task("t", expires=seconds)
    app.send_task("t")
    assert seen == [pytest.approx(seconds, abs=0.1), None]

"""The watchdog of a worker's link."""

from __future__ import annotations

from celery.worker.watchdog import GRACE, LEAST, TRIES, Watchdog


class Link:
    """A consumer's two answers."""

    def __init__(self, quiet: float = 0.0) -> None:
        self.quiet = quiet
        self.reasons: list[str] = []

    def quiet_for(self) -> float:
        return self.quiet

    def reconnect(self, why: str) -> None:
        self.reasons.append(why)


class Play:
    def __init__(self, heartbeat: float = 10.0) -> None:
        self.now = 1000.0
        self.given_up: list[str] = []
        self.dog = Watchdog(heartbeat, self.given_up.append, lambda: self.now)
        self.link = Link()

    def go(self, seconds: float, step: float = 0.25) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += step
            self.dog.look(self.link)


def test_a_link_that_is_heard_of_is_left_alone():
    play = Play()
    play.link.quiet = LEAST
    play.go(100)
    assert play.link.reasons == []


def test_silence_is_answered_by_connecting_again(caplog):
    play = Play()
    play.link.quiet = LEAST + 1
    play.go(1)
    assert play.link.reasons == ["nothing was heard of the broker for 31 seconds"]
    assert "Connecting again" in caplog.text
    play.link.quiet = 0.0
    play.go(100)
    assert len(play.link.reasons) == 1
    assert play.given_up == []


def test_a_link_that_stays_dead_ends_the_worker():
    play = Play()
    play.link.quiet = 99.0
    play.go(GRACE * (TRIES + 1) + 1)
    assert len(play.link.reasons) == TRIES
    (why,) = play.given_up
    assert "connecting again has not helped" in why


def test_a_worker_that_stood_still_reads_first():
    play = Play()
    play.go(1)
    play.link.quiet = 60.0
    play.now += 60
    play.dog.look(play.link)
    assert play.link.reasons == []
    play.link.quiet = 0.0
    play.go(GRACE + 1)
    assert play.link.reasons == []


def test_no_heartbeat_no_watching():
    play = Play(heartbeat=0)
    play.link.quiet = 1e6
    play.go(10)
    assert play.link.reasons == []


def test_slow_heartbeats_are_waited_for():
    assert Play(heartbeat=60).dog.limit == 180

"""How often a worker looks for chord bodies that nobody sent."""

from __future__ import annotations

import asyncio

from celery.worker.sweeps import BEGINNING, OFTEN, SELDOM, WATCHFUL, Sweeps


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class _Looks:
    """Looks that are made as soon as they are due, each second."""

    def __init__(self) -> None:
        self.clock = _Clock()
        self.found = 0
        self.at: list[float] = []
        self.sweeps = Sweeps(self._look, self.clock)

    async def _look(self) -> int:
        self.at.append(self.clock.now)
        return self.found

    def go_on(self, seconds: float) -> int:
        """How many looks there are in this time."""
        before = len(self.at)
        for _ in range(int(seconds)):
            self.clock.now += 1
            if self.sweeps.is_due():
                asyncio.run(self.sweeps.sweep())
        return len(self.at) - before


def test_a_worker_without_chords_looks_seldom() -> None:
    looks = _Looks()
    assert looks.sweeps.is_due()  # what was left before it began is not kept waiting
    looks.go_on(BEGINNING)
    assert looks.go_on(SELDOM * 10) <= 10


def test_a_worker_that_takes_part_in_chords_looks_often_and_then_seldom_again() -> None:
    looks = _Looks()
    looks.go_on(SELDOM * 3)
    looks.sweeps.expect()
    assert looks.go_on(WATCHFUL) >= WATCHFUL / OFTEN - 1
    assert looks.go_on(SELDOM * 10) <= 11


def test_who_has_found_something_looks_often() -> None:
    looks = _Looks()
    looks.go_on(SELDOM * 3)
    looks.found = 1
    looks.go_on(SELDOM)
    assert looks.go_on(WATCHFUL) >= WATCHFUL / OFTEN - 1


def test_no_look_begins_before_the_last_has_ended() -> None:
    async def scenario() -> None:
        clock, gate = _Clock(), asyncio.Event()

        async def look() -> int:
            await gate.wait()
            return 0

        sweeps = Sweeps(look, clock)
        looking = asyncio.create_task(sweeps.sweep())
        await asyncio.sleep(0)
        clock.now += SELDOM * 2
        assert not sweeps.is_due()
        gate.set()
        await looking
        assert sweeps.is_due()

    asyncio.run(scenario())

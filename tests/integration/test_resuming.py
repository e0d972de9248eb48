"""Workflows that failed go on from what failed: what succeeded does not run again, and keeps its results."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.support import wait_until

from celery import Celery, chain, chord, group
from celery.app import launching
from celery.backends import resume_notes, resuming
from celery.backends.simple_chords import PollingChords
from celery.canvas import graphs
from celery.contrib.testing.worker import start_worker
from celery.exceptions import ChordError, OperationalError, ResumeError

if TYPE_CHECKING:
    from collections.abc import Iterator


class World:
    """What the tasks meet: which of them fail, how often each was called, and as a member of which chord or group."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.groups: dict[str, list[str | None]] = {}
        self.gate = threading.Event()
        self.gate.set()

    def call(self, label: str) -> None:
        self.calls[label] += 1
        if label in self.broken:
            raise ValueError(f"{label} is broken")


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.gate.set()


#: With "celeriac" what comes later in a workflow is stored once, and messages refer to it.
STORES = ["sqlite", "sqlite celeriac", "redis", "redis celeriac", "file", "memcached"]


@pytest.fixture(params=STORES)
def app(request: pytest.FixtureRequest, tmp_path, world: World) -> Iterator[Celery]:
    kind, _, fleet = request.param.partition(" ")
    # A broker of its own: what one test leaves must not run in another.
    broker, backend = f"sqlite:///{tmp_path}/broker.db", f"file://{tmp_path}/results"
    (tmp_path / "results").mkdir()
    if kind == "sqlite":
        broker = backend = f"sqlite:///{tmp_path}/store.db"
    elif kind == "redis":
        broker = backend = request.getfixturevalue("redis_url")
    elif kind == "memcached":
        backend = f"cache+memcached://{request.getfixturevalue('memcached_server').address}/"
    app = Celery("flows", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(result_chord_retry_interval=0.1, fleet=fleet or "mixed")

    @app.task(name="step")
    def step(value, label):
        world.groups.setdefault(label, []).append(step.request.group)
        world.call(label)
        world.gate.wait(30)
        return [*value, label] if isinstance(value, list) else [value, label]

    @app.task(name="join")
    def join(values, label):
        world.call(label)
        return {label: values}

    @app.task(name="note_error")
    def note_error(task_id):
        world.errors[task_id] += 1

    with start_worker(app, pool="threads", concurrency=4, perform_ping_check=False, shutdown_timeout=30):
        yield app
        world.gate.set()


@pytest.fixture
def step(app):
    return app.tasks["step"]


@pytest.fixture
def join(app):
    return app.tasks["join"]


def fails(result):
    """It ends with an exception: perhaps that of a step before, and then it may not have been told itself yet."""
    with pytest.raises((ValueError, ChordError)):
        result.get(timeout=40, interval=0.05)


def fails_to_its_end(result):
    fails(result)
    wait_until(result.ready)


def test_a_chain(app, step, world):
    world.broken = {"b"}
    result = chain(step.s(0, "a"), step.s("b"), step.s("c"), step.s("d")).delay()
    fails(result)
    world.broken = set()
    assert result.resume() is result
    assert result.get(timeout=40, interval=0.05) == [0, "a", "b", "c", "d"]
    assert world.calls == {"a": 1, "b": 2, "c": 1, "d": 1}
    wait_until(lambda: result.parent.state == "SUCCESS")


def test_it_fails_again_and_is_resumed_again(app, step, world):
    world.broken = {"b", "c"}
    result = chain(step.s(0, "a"), step.s("b"), step.s("c")).delay()
    for broken in ({"b", "c"}, {"c"}, set()):
        fails(result)
        world.broken = broken
        result.resume()
    assert result.get(timeout=40, interval=0.05) == [0, "a", "b", "c"]
    assert world.calls == {"a": 1, "b": 3, "c": 2}


@pytest.mark.parametrize("start", ["failed", "root"])
def test_by_the_id_of_another_step(app, step, world, start):
    world.broken = {"b"}
    result = chain(step.s(0, "a"), step.s("b"), step.s("c")).delay()
    fails_to_its_end(result)
    wait_until(result.parent.parent.ready)
    world.broken = set()
    chosen = result.parent if start == "failed" else result.parent.parent
    assert app.backend.resume([chosen.id]) == [result.parent.id]
    again = app.AsyncResult(result.id)
    assert again.get(timeout=40, interval=0.05) == [0, "a", "b", "c"]


def test_a_chord_resumes_with_the_members_that_failed(app, step, join, world):
    world.broken = {"2", "4"}
    result = chord([step.s(0, str(n)) for n in range(6)], join.s("end")).delay()
    fails(result)
    header = result.parent
    world.broken = set()
    result.resume()
    assert result.get(timeout=40, interval=0.05) == {"end": [[0, str(n)] for n in range(6)]}
    assert world.calls == {"0": 1, "1": 1, "2": 2, "3": 1, "4": 2, "5": 1, "end": 1}
    assert header.get(timeout=40, interval=0.05) == [[0, str(n)] for n in range(6)]


def test_the_body_of_a_chord(app, step, join, world):
    world.broken = {"end"}
    result = (group(step.s(0, str(n)) for n in range(3)) | join.s("end") | step.s("after")).delay()
    fails(result)
    world.broken = set()
    result.resume()
    assert result.get(timeout=40, interval=0.05) == [{"end": [[0, str(n)] for n in range(3)]}, "after"]
    assert world.calls == {"0": 1, "1": 1, "2": 1, "end": 2, "after": 1}


def test_chords_in_chords(app, step, join, world):
    inner = chain(chord([step.s(0, "x"), step.s(0, "y")], join.s("in")), step.s("z"))
    world.broken = {"y", "w"}
    flow = chord([step.s(0, "v"), inner, chain(step.s(0, "w"), step.s("u"))], join.s("out")) | step.s("last")
    result = flow.delay()
    fails(result)
    world.broken = set()
    result.resume()
    expected = {"out": [[0, "v"], [{"in": [[0, "x"], [0, "y"]]}, "z"], [0, "w", "u"]]}
    assert result.get(timeout=40, interval=0.05) == [expected, "last"]
    assert world.calls == {"x": 1, "y": 2, "in": 1, "z": 1, "v": 1, "w": 2, "u": 1, "out": 1, "last": 1}


def test_long_chains_in_a_chord(app, step, join, world):
    world.broken = {"a3", "t2"}
    arms = [chain(step.s(0, f"{arm}0"), *(step.s(f"{arm}{n}") for n in range(1, 12))) for arm in "ab"]
    result = chain(chord(arms, join.s("end")), *(step.s(f"t{n}") for n in range(12))).delay()
    for _ in range(2):
        fails(result)
        world.broken.discard("a3" if world.calls["a3"] == 1 else "t2")
        result.resume()
    values = [[0, *(f"{arm}{n}" for n in range(12))] for arm in "ab"]
    assert result.get(timeout=40, interval=0.05) == [{"end": values}, *(f"t{n}" for n in range(12))]
    assert {label: count for label, count in world.calls.items() if count > 1} == {"a3": 2, "t2": 2}


def test_a_group(app, step, world):
    world.broken = {"1", "3"}
    results = group(chain(step.s(0, str(n)), step.s("+")) for n in range(4)).delay()
    fails(results)
    wait_until(results.ready)
    world.broken = set()
    assert results.resume() is results
    assert results.get(timeout=40, interval=0.05) == [[0, str(n), "+"] for n in range(4)]
    assert world.calls == {"0": 1, "1": 2, "2": 1, "3": 2, "+": 4}


def test_only_one_of_those_who_resume_wins(app, step, world):
    world.broken = {"b"}
    result = chain(step.s(0, "a"), step.s("b")).delay()
    fails_to_its_end(result)
    world.broken = set()
    world.gate.clear()
    start, told = threading.Barrier(4), []

    def run():
        start.wait(30)
        try:
            told.append(app.backend.resume([result.id]))
        except ResumeError as error:
            told.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.gate.set()
    result._cache = None
    if isinstance(app.backend.chords, PollingChords):
        return  # such a store cannot be sure
    assert sum(isinstance(one, list) for one in told) == 1, told
    assert result.get(timeout=40, interval=0.05) == [0, "a", "b"]
    assert world.calls == {"a": 1, "b": 2}


def refused(app, task_id, text):
    with pytest.raises(ResumeError, match=text):
        app.backend.resume([task_id])


def test_what_cannot_be_resumed(app, step, join, world):
    done = chain(step.s(0, "a"), step.s("b")).delay()
    done.get(timeout=40, interval=0.05)
    refused(app, done.id, "nothing to resume")
    refused(app, "nobody", "Nothing is stored of nobody")
    world.broken = {"c"}
    lone = step.delay(0, "c")
    fails_to_its_end(lone)
    refused(app, lone.id, "is no part of a workflow")
    with pytest.raises(ResumeError, match="nothing to resume"):
        app.GroupResult("g", [done]).resume()


def test_by_the_id_of_a_group(app, step, join, world):
    world.broken = {"1", "3"}
    of_chord = chord([step.s(0, str(n)) for n in range(2)], join.s("end")).delay()
    many = group(step.s(0, str(n)) for n in range(2, 4)).delay()
    many.save()
    fails_to_its_end(of_chord)
    fails(many)
    wait_until(many.ready)
    world.broken = set()
    assert app.backend.resume([of_chord.parent.id, many.id]) == [of_chord.parent[1].id, many[1].id]
    for result in (of_chord, *many):
        result._cache = None
    assert of_chord.get(timeout=40, interval=0.05) == {"end": [[0, "0"], [0, "1"]]}
    assert many.get(timeout=40, interval=0.05) == [[0, "2"], [0, "3"]]
    refused(app, many.id, "no member of the group")


def test_members_that_ignore_their_results(app, step, join, world):
    if isinstance(app.backend.chords, PollingChords):
        pytest.skip("what is not stored cannot be looked at")
    world.broken = {"1", "end"}
    result = chord([step.s(0, str(n)).set(ignore_result=True) for n in range(3)], join.s("end")).delay()
    fails_to_its_end(result)
    world.broken = {"end"}
    result.resume()
    fails_to_its_end(result)
    world.broken = set()
    assert result.resume().get(timeout=40, interval=0.05) == {"end": [[0, str(n)] for n in range(3)]}
    assert world.calls == {"0": 1, "1": 2, "2": 1, "end": 2}


def test_a_chord_that_still_runs(app, step, join, world):
    world.gate.clear()
    world.broken = {"a"}
    result = chord([step.s(0, "a"), step.s(0, "b")], join.s("end")).delay()
    fails(result.parent[0])
    refused(app, result.parent[0].id, "still running")
    world.gate.set()
    fails(result)
    world.broken = set()
    result.resume()
    assert result.get(timeout=40, interval=0.05) == {"end": [[0, "a"], [0, "b"]]}


def test_results_that_are_gone(app, step, join, world):
    world.broken = {"b"}
    result = chord([step.s(0, "a"), step.s(0, "b")], join.s("end")).delay()
    fails_to_its_end(result)
    app.backend.forget(result.parent[0].id)
    refused(app, result.id, "is not stored")
    assert result.state == "FAILURE"


def test_nothing_is_kept_if_that_is_not_wanted(app, step, world):
    app.conf.result_resumable = False
    world.broken = {"a"}
    result = chain(step.s(0, "a"), step.s("b")).delay()
    fails_to_its_end(result)
    refused(app, result.id, "result_resumable")


def test_what_was_broken_off(app, step, world):
    world.broken = {"b"}
    result = chain(step.s(0, "a"), step.s("b")).delay()
    fails_to_its_end(result)
    world.broken = set()
    note = resume_notes.read(app.backend, result.id)
    assert resuming._claim(app.backend, result.id, note["mark"])  # by somebody who died then
    refused(app, result.id, "is being resumed already")
    result.resume(force=True)
    assert result.get(timeout=40, interval=0.05) == [0, "a", "b"]


def test_broken_off_when_all_was_sent_already(app, step, join, world):
    world.broken = {"2"}
    result = chord([step.s(0, str(n)) for n in range(4)], join.s("end")).delay()
    fails(result)
    world.broken = set()
    world.gate.clear()
    result.resume()
    result.resume(force=True)  # by somebody who believes that the other has died
    world.gate.set()
    assert result.get(timeout=40, interval=0.05) == {"end": [[0, str(n)] for n in range(4)]}
    wait_until(lambda: world.calls["2"] == 3)
    first, second, third = world.groups["2"]
    assert second == third != first, "they count in one chord, whose body runs once"
    if not isinstance(app.backend.chords, PollingChords):
        assert world.calls["end"] == 1


def test_broken_off_when_some_was_sent(app, step, join, world, monkeypatch):
    world.broken = {"1", "2"}
    result = chord([step.s(0, str(n)) for n in range(4)], join.s("end")).delay()
    fails(result)
    one = result.parent[1]

    def launch(plan):
        del plan.sends[1:]
        launching.launch(app, plan)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(app, "_launch", launch)
        with pytest.raises(KeyboardInterrupt):
            result.resume()
    one._cache = None
    wait_until(lambda: world.calls["1"] == 2 and one.failed())
    world.broken = set()
    result.resume(force=True)
    assert result.get(timeout=40, interval=0.05) == {"end": [[0, str(n)] for n in range(4)]}
    assert world.calls == {"0": 1, "1": 3, "2": 2, "3": 1, "end": 1}


def test_broken_off_in_a_group(app, step, world, monkeypatch):
    world.broken = {"0", "1"}
    results = group(step.s(0, str(n)) for n in range(3)).delay()
    fails(results)
    wait_until(results.ready)
    world.broken = set()

    def launch(plan):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(app, "_launch", launch)
        with pytest.raises(KeyboardInterrupt):
            results.resume()
    assert results.resume(force=True).get(timeout=40, interval=0.05) == [[0, str(n)] for n in range(3)]
    assert world.calls == {"0": 2, "1": 2, "2": 1}


def test_what_somebody_else_has_resumed(app, step, world):
    world.broken = {"b"}
    result = chain(step.s(0, "a"), step.s("b")).delay()
    fails_to_its_end(result)
    world.broken = set()
    app.AsyncResult(result.id).resume().get(timeout=40, interval=0.05)
    with pytest.raises(ResumeError, match="nothing to resume"):
        result.resume()
    assert result.get(timeout=40, interval=0.05) == [0, "a", "b"]


def test_a_value_that_was_given_by_hand(app, step, join, world):
    world.broken = {"1"}
    result = chord([step.s(0, str(n)) for n in range(3)], join.s("end")).delay()
    fails_to_its_end(result)
    app.backend.store_result(result.parent[1].id, "by hand", "SUCCESS")
    assert app.backend.resume([result.id]) == [result.id]
    result._cache = None
    assert result.get(timeout=40, interval=0.05) == {"end": [[0, "0"], "by hand", [0, "2"]]}
    assert world.calls["1"] == 1


def test_notes_of_members_are_small(app, step, join, world):
    world.broken = {"1"}
    result = (group(step.s(0, str(n)) for n in range(2)) | join.s("x" * 10_000) | step.s("after")).delay()
    fails(result)
    note = resume_notes.read(app.backend, result.parent[1].id)
    assert graphs.is_reference(note["call"]["options"]["chord"])
    assert len(repr(note)) < 3_000
    world.broken = set()
    assert result.resume().get(timeout=40, interval=0.05)[-1] == "after"


def test_the_broker_is_away(app, step, world):
    world.broken = {"b"}
    result = chain(step.s(0, "a"), step.s("b")).delay()
    fails_to_its_end(result)
    world.broken = set()
    away = Celery("away", broker="redis://127.0.0.1:1", backend=app.conf.result_backend, set_as_current=False)
    away.conf.task_publish_timeout = 0.3
    away.task(name="step")(lambda value, label: None)
    with pytest.raises(OperationalError):
        away.backend.resume([result.id])
    refused(app, result.id, "--force")
    assert result.resume(force=True).get(timeout=40, interval=0.05) == [0, "a", "b"]


def test_errbacks_hear_of_each_failure(app, step, world):
    world.broken = {"b"}
    result = chain(step.s(0, "a"), step.s("b").on_error(app.tasks["note_error"].s())).delay()
    for count in (1, 2):
        fails(result)
        wait_until(lambda count=count: world.errors[result.id] == count)
        if count == 1:
            result.resume()


TASKS = """
    import os, pathlib, signal
    from celery import Celery, chain

    app = Celery("tasks")
    app.conf.task_acks_late = False

    @app.task
    def add(x, y):
        return x + y

    @app.task
    def fragile(x):
        if pathlib.Path("broken").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return x * 10

    flow = chain(add.s(1, 1), fragile.s(), add.s(3))
"""


def test_by_the_command_after_a_process_was_lost(project):
    project.write("tasks.py", TASKS)
    project.write("broken", "")
    with project.worker("--concurrency", "1"):
        task_id = project.python("""
            from tasks import flow
            from celery.exceptions import WorkerLostError

            result = flow.delay()
            try:
                result.get(timeout=40)
            except WorkerLostError:
                print(result.id)
        """).strip()
        assert task_id
        (project.path / "broken").unlink()
        said = project.celery("-A", "tasks", "resume", task_id).stdout
        assert said.startswith("Sent 1 task again: ")
        printed = project.python(f"""
            from tasks import app
            print(app.AsyncResult("{task_id}").get(timeout=40))
        """)
        assert printed.strip() == "23"
        again = project.celery("-A", "tasks", "resume", task_id, check=False)
        assert (again.returncode, again.stdout) == (1, "")
        assert again.stderr.startswith(f"Error: There is nothing to resume: {task_id} succeeded")

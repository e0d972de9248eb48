"""What becomes of tasks in a worker: states, results, requests, callbacks, handlers, signals, log lines."""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Project, WorkerProcess

TASKS = """
    import os, time
    from celery import Celery, Task, signals
    from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
    from celery.result import allow_join_result
    from celery.utils.log import get_task_logger

    app = Celery('proj', task_track_started=True, result_extended=True, accept_content=['json', 'pickle'])
    logger = get_task_logger('my.module')

    def note(*what):
        with open('notes', 'a') as notes:
            notes.write(repr(what) + '\\n')

    class Handled(Task):
        abstract = True
        def before_start(self, task_id, args, kwargs): note(task_id, 'before_start', args, kwargs)
        def on_success(self, retval, task_id, args, kwargs): note(task_id, 'on_success', retval, self.AsyncResult(task_id).state)
        def on_failure(self, exc, task_id, args, kwargs, einfo): note(task_id, 'on_failure', repr(exc), einfo is not None)
        def on_retry(self, exc, task_id, args, kwargs, einfo): note(task_id, 'on_retry', repr(exc), einfo is not None)
        def after_return(self, status, retval, task_id, args, kwargs, einfo): note(task_id, 'after_return', status, repr(retval), einfo)

    def receiver(name):
        def receive(sender=None, signal=None, task_id=None, **kwargs):
            request = kwargs.get('request') or getattr(sender, 'request', None)
            note(task_id or getattr(request, 'id', None) or kwargs.get('id'), 'signal ' + name, *sorted(kwargs))
        return receive

    for name in ('task_prerun task_postrun task_success task_failure task_retry task_received task_revoked task_unknown '
                 'celeryd_init celeryd_after_setup import_modules worker_init worker_ready worker_process_init '
                 'worker_process_shutdown worker_shutting_down worker_shutdown').split():
        getattr(signals, name).connect(receiver(name), weak=False)

    @app.task
    def add(x, y): return x + y

    @app.task(base=Handled, bind=True, max_retries=1, throws=(KeyError,))
    def does(self, what):
        note(self.request.id, 'body')
        if what == 'fail': raise ValueError('bad', 1)
        if what == 'retry': raise self.retry(exc=ValueError('again'), countdown=0)
        if what == 'ignore': raise Ignore('ignored')
        if what == 'reject': raise Reject('rejected')
        if what == 'throws': raise KeyError('expected')
        if what == 'unserializable': return object()
        if what == 'exit': raise SystemExit(3)
        return what

    FIELDS = '''id root_id parent_id args kwargs is_eager called_directly retries delivery_info hostname callbacks errbacks
        headers task group group_index eta expires timelimit ignore_result correlation_id shadow lang argsrepr kwargsrepr
        chord chain taskset stamps stamped_headers replaced_task_nesting x'''.split()

    @app.task(bind=True)
    def request(self, *args, **kwargs): return {name: getattr(self.request, name, 'missing') for name in FIELDS}

    @app.task(bind=True)
    def parent(self):
        child = request.delay()
        return {'child': child.id, 'children': [result.id for result in self.request.children]}

    @app.task
    def says():
        logger.warning('logged')
        print('printed', 'in one line')
        print('without end', end='')

    @app.task(bind=True)
    def progress(self):
        self.update_state(state='PROGRESS', meta={'done': 1})
        while not os.path.exists('go on'): time.sleep(.01)

    @app.task(soft_time_limit=1, time_limit=20)
    def slow(catch):
        try:
            time.sleep(15)
        except SoftTimeLimitExceeded:
            if not catch: raise
            return 'caught'

    @app.task(time_limit=1, base=Handled)
    def endless(): time.sleep(30)

    @app.task
    def dies(): os._exit(9)

    @app.task(ignore_result=True)
    def silent(): return 5

    @app.task
    def callback(value, *more): note('callback', value, more)

    @app.task
    def errback(request, exc, traceback): note('errback', request.id, repr(exc), 'Traceback' in str(traceback))

    @app.task
    def old_errback(task_id): note('old errback', task_id)

    @app.task(acks_late=True)
    def late(what):
        if what == 'fail': raise ValueError(what)
        if what == 'reject': raise Reject(what, requeue=False)
        return what

    @app.task
    def waits(): return add.delay(1, 2).get(timeout=9)

    @app.task
    def may_wait():
        with allow_join_result():
            return add.delay(1, 2).get(timeout=9)

    @app.task(bind=True, autoretry_for=(KeyError,), retry_kwargs={'max_retries': 2, 'countdown': 0})
    def auto(self):
        note(self.request.id, 'auto', self.request.retries)
        raise KeyError('auto')

    @app.task(bind=True)
    def again(self):
        if not self.request.retries:
            raise self.retry(countdown=0)
        return {name: getattr(self.request, name, 'missing') for name in FIELDS}

    @app.task(bind=True)
    def other_arguments(self, a, b=0):
        if not self.request.retries:
            self.retry(args=(5,), kwargs={'b': 6}, countdown=0)
        return a, b
"""

CLIENT = """
    import json, sys, time, warnings
    from tasks import *
    warnings.simplefilter('ignore')
    sent = {}
    def send(label, task, *args, **options):
        sent[label] = task.apply_async(args, task_id=label, **options)

    send('plain', add, 1, 2)
    for what in ('fine', 'fail', 'retry', 'throws', 'unserializable', 'exit', 'ignore', 'reject'):
        send(what, does, what)
    send('full request', request, 1, headers={'x': 'custom'}, priority=3, time_limit=100, soft_time_limit=50, expires=100,
         shadow='other name')
    sent['keywords'] = request.apply_async((), {'k': 2}, task_id='keywords')
    sent['by name'] = app.send_task('tasks.request', task_id='by name')
    send('parent', parent)
    send('says', says)
    send('soft', slow, False)
    send('soft caught', slow, True)
    send('hard', endless)
    send('dies', dies)
    send('silent', silent)
    send('not silent', silent, ignore_result=False)
    send('linked', add, 1, 2, link=[callback.s(), callback.si('immutable'), callback.s('more')])
    send('errbacks', does, 'fail', link_error=[errback.s(), old_errback.s()])
    for what in ('fine', 'fail', 'reject'):
        send('late ' + what, late, what)
    send('waits', waits)
    send('may wait', may_wait)
    send('auto', auto)
    send('again', again, headers={'x': 'custom'}, priority=4, shadow='other', time_limit=99)
    send('other arguments', other_arguments, 1)
    send('expired', add, 1, 2, expires=-1)
    sent['unknown'] = app.send_task('no.such.task', task_id='unknown')
    sent['wrong arguments'] = app.send_task('tasks.add', (1, 2, 3), task_id='wrong arguments')
    send('later', add, 3, 4, countdown=1)
    send('pickle', add, (1,), (2,), serializer='pickle')
    send('progress', progress)
    deadline = time.time() + 30
    while sent['progress'].state != 'PROGRESS' and time.time() < deadline: time.sleep(.01)
    seen = {'progress': [sent['progress'].state, sent['progress'].info]}
    open('go on', 'w').close()

    answers = {}
    for label, result in sent.items():
        try:
            value = None if label in ('ignore', 'reject', 'late reject', 'silent') else result.get(timeout=40)
        except Exception as exc:
            value = repr(exc)
        meta = dict(result._get_task_meta(), state=result.state, value=value)
        answers[label] = meta
    print(json.dumps({'answers': answers, 'seen': seen}, default=repr))
"""


class Outcome:
    """All that is left of the run."""

    def __init__(self, project: Project, worker: WorkerProcess, printed: str) -> None:
        said = json.loads(printed)
        self.answers: dict[str, dict[str, Any]] = said["answers"]
        self.seen: dict[str, Any] = said["seen"]
        self.project = project
        self.worker = worker

    @property
    def notes(self) -> list[tuple[Any, ...]]:
        return [ast.literal_eval(line) for line in (self.project.path / "notes").read_text().splitlines()]

    def notes_of(self, task_id: str) -> list[Any]:
        """What the task's handlers and signals noted, in order."""
        return [note[1:] for note in self.notes if note[0] == task_id]


@pytest.fixture(scope="module")
def run(module_project: Project) -> Iterator[Outcome]:
    """Everything sent and waited for, with a worker that still runs."""
    module_project.write("tasks.py", TASKS)
    with module_project.worker("-n", "w1@here") as worker:
        yield Outcome(module_project, worker, module_project.python(CLIENT))
        worker.stop()


@pytest.mark.parametrize(
    ("label", "state", "value"),
    [
        ("plain", "SUCCESS", 3),
        ("fine", "SUCCESS", "fine"),
        ("fail", "FAILURE", "ValueError('bad', 1)"),
        ("retry", "FAILURE", "ValueError('again')"),
        ("throws", "FAILURE", "KeyError('expected')"),
        ("unserializable", "FAILURE", "EncodeError('Object of type object is not JSON serializable')"),
        ("soft", "FAILURE", "SoftTimeLimitExceeded()"),
        ("soft caught", "SUCCESS", "caught"),
        ("hard", "FAILURE", "TimeLimitExceeded(1)"),
        ("dies", "FAILURE", "WorkerLostError('Worker exited prematurely: exitcode 9.')"),
        ("not silent", "SUCCESS", 5),
        ("late fine", "SUCCESS", "fine"),
        ("late fail", "FAILURE", "ValueError('fail')"),
        ("may wait", "SUCCESS", 3),
        ("auto", "FAILURE", "KeyError('auto')"),
        ("other arguments", "SUCCESS", [5, 6]),
        ("expired", "REVOKED", "TaskRevokedError('expired')"),
        ("later", "SUCCESS", 7),
        ("pickle", "SUCCESS", [1, 2]),
        ("ignore", "STARTED", None),
        ("reject", "FAILURE", None),
        ("silent", "PENDING", None),
    ],
)
def test_outcome(run: Outcome, label: str, state: str, value: object) -> None:
    answer = run.answers[label]
    assert (answer["state"], answer["value"]) == (state, value)


@pytest.mark.parametrize(
    ("label", "error"),
    [
        ("exit", "WorkerLostError"),
        ("unknown", "Task of kind 'no.such.task' never registered"),
        ("wrong arguments", r"TypeError\('add\(\) takes 2 positional arguments but 3 were given'\)"),
        ("waits", "Never call result.get"),
    ],
)
def test_error(run: Outcome, label: str, error: str) -> None:
    assert run.answers[label]["state"] == "FAILURE"
    assert re.search(error, run.answers[label]["value"])


@pytest.mark.parametrize("label", ["fail", "throws", "auto", "wrong arguments"])
def test_failure_keeps_its_traceback(run: Outcome, label: str) -> None:
    lines = run.answers[label]["traceback"].strip().splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert re.match(r"(ValueError|KeyError|TypeError)\b", lines[-1])


def test_update_state(run: Outcome) -> None:
    assert run.seen["progress"] == ["PROGRESS", {"done": 1}]


def test_extended_result(run: Outcome) -> None:
    meta = run.answers["plain"]
    wanted = {
        "name": "tasks.add",
        "args": [1, 2],
        "kwargs": {},
        "worker": "w1@here",
        "retries": 0,
        "queue": "celery",
    }
    assert {key: meta[key] for key in wanted} == wanted


def test_request(run: Outcome) -> None:
    request = run.answers["full request"]["value"]
    expires = request.pop("expires")
    assert re.match(r"\d{4}-\d\d-\d\dT.*\+00:00$", expires)
    assert request == {
        "id": "full request",
        "root_id": "full request",
        "parent_id": None,
        "args": [1],
        "kwargs": {},
        "is_eager": False,
        "called_directly": False,
        "retries": 0,
        "delivery_info": {"exchange": "", "routing_key": "celery", "priority": 3, "redelivered": False},
        "hostname": "w1@here",
        "callbacks": None,
        "errbacks": None,
        "headers": {"x": "custom"},
        "task": "tasks.request",
        "group": None,
        "group_index": None,
        "eta": None,
        "timelimit": [100, 50],
        "ignore_result": False,
        "correlation_id": "full request",
        "shadow": "other name",
        "lang": "py",
        "argsrepr": "(1,)",
        "kwargsrepr": "{}",
        "chord": None,
        "chain": None,
        "taskset": None,
        "stamps": {},
        "stamped_headers": None,
        "replaced_task_nesting": 0,
        "x": "custom",
    }


def test_request_of_a_plain_call(run: Outcome) -> None:
    request = run.answers["keywords"]["value"]
    assert (request["kwargs"], request["kwargsrepr"], request["headers"], request["x"]) == (
        {"k": 2},
        "{'k': 2}",
        None,
        "missing",
    )


def test_the_worker_decides_ignore_result_for_calls_by_name(run: Outcome) -> None:
    assert run.answers["by name"]["state"] == "SUCCESS"


def test_children_know_their_parent(run: Outcome) -> None:
    value = run.answers["parent"]["value"]
    assert value["children"] == [value["child"]]
    assert run.answers["parent"]["children"] == [f"<AsyncResult: {value['child']}>"]


def test_retry_keeps_the_options(run: Outcome) -> None:
    request = run.answers["again"]["value"]
    assert request["id"] == request["root_id"] == request["parent_id"] == "again"
    assert request["retries"] == 1
    assert (request["headers"], request["shadow"], request["timelimit"]) == (
        {"x": "custom"},
        "other",
        [99, None],
    )
    assert request["delivery_info"]["priority"] == 4


def test_autoretry_counts(run: Outcome) -> None:
    assert [note[1] for note in run.notes_of("auto") if note[0] == "auto"] == [0, 1, 2]


def test_callbacks(run: Outcome) -> None:
    noted = [("callback", 3, ()), ("callback", "immutable", ()), ("callback", 3, ("more",))]
    wait_until(
        lambda: sum(note[0] == "callback" for note in run.notes) >= 3, message=lambda: run.worker.output
    )
    assert sorted(map(repr, (note for note in run.notes if note[0] == "callback"))) == sorted(
        map(repr, noted)
    )


def test_errbacks(run: Outcome) -> None:
    wait_until(lambda: any(note[0] == "old errback" for note in run.notes), message=lambda: run.worker.output)
    assert ("errback", "errbacks", "ValueError('bad', 1)", True) in run.notes
    assert ("old errback", "errbacks") in run.notes


HANDLED = {
    "fine": [
        ("signal task_prerun", "args", "kwargs", "task"),
        ("before_start", ["fine"], {}),
        ("body",),
        ("on_success", "fine", "SUCCESS"),
        ("signal task_success", "result", "runtime"),
        ("after_return", "SUCCESS", "'fine'", None),
        ("signal task_postrun", "args", "kwargs", "retval", "state", "task"),
    ],
    "fail": [
        ("signal task_prerun", "args", "kwargs", "task"),
        ("before_start", ["fail"], {}),
        ("body",),
        ("on_failure", "ValueError('bad', 1)", True),
        ("signal task_failure", "args", "einfo", "exception", "kwargs", "traceback"),
        ("after_return", "FAILURE", "ValueError('bad', 1)", None),
        ("signal task_postrun", "args", "kwargs", "retval", "state", "task"),
    ],
    "retry": [
        ("signal task_prerun", "args", "kwargs", "task"),
        ("before_start", ["retry"], {}),
        ("body",),
        ("on_retry", "ValueError('again')", True),
        ("signal task_retry", "einfo", "reason", "request"),
        ("signal task_postrun", "args", "kwargs", "retval", "state", "task"),
        ("signal task_prerun", "args", "kwargs", "task"),
        ("before_start", ["retry"], {}),
        ("body",),
        ("on_failure", "ValueError('again')", True),
        ("signal task_failure", "args", "einfo", "exception", "kwargs", "traceback"),
        ("after_return", "FAILURE", "ValueError('again')", None),
        ("signal task_postrun", "args", "kwargs", "retval", "state", "task"),
    ],
    "ignore": [
        ("signal task_prerun", "args", "kwargs", "task"),
        ("before_start", ["ignore"], {}),
        ("body",),
        ("signal task_postrun", "args", "kwargs", "retval", "state", "task"),
    ],
}


@pytest.mark.parametrize("label", HANDLED)
def test_handlers_and_signals_in_order(run: Outcome, label: str) -> None:
    noted = [note for note in run.notes_of(label) if note[0] != "signal task_received"]
    assert noted == HANDLED[label]


def test_hard_limit_calls_the_handlers(run: Outcome) -> None:
    wait_until(
        lambda: any(note[0] == "after_return" for note in run.notes_of("hard")),
        message=lambda: run.worker.output,
    )
    kinds = [note[:3] for note in run.notes_of("hard")]
    assert ("on_failure", "TimeLimitExceeded(1)", True) in kinds
    assert ("after_return", "FAILURE", "TimeLimitExceeded(1)") in kinds
    assert any(kind[0] == "signal task_failure" for kind in kinds)


@pytest.mark.parametrize("label", ["plain", "fine", "expired", "later"])
def test_received_once(run: Outcome, label: str) -> None:
    assert [note[0] for note in run.notes_of(label)].count("signal task_received") == 1


def test_signals_of_special_ends(run: Outcome) -> None:
    assert ("signal task_revoked", "expired", "request", "signum", "terminated") in run.notes_of("expired")
    assert ("signal task_unknown", "exc", "id", "message", "name") in run.notes_of("unknown")


@pytest.mark.parametrize(
    "line",
    [
        r"INFO/MainProcess\] Task tasks\.add\[plain\] received",
        r"INFO/ForkPoolWorker-\d+\] Task tasks\.add\[plain\] succeeded in [\d.e-]+s: 3$",
        r"ERROR/ForkPoolWorker-\d+\] Task tasks\.does\[fail\] raised unexpected: ValueError\('bad', 1\)$\nTraceback ",
        r"INFO/ForkPoolWorker-\d+\] Task tasks\.does\[throws\] raised expected: KeyError\('expected'\)$\n\[",
        r"INFO/ForkPoolWorker-\d+\] Task tasks\.does\[retry\] retry: Retry in 0s: ValueError\('again'\)",
        r"INFO/ForkPoolWorker-\d+\] Task tasks\.does\[ignore\] ignored",
        r"WARNING/ForkPoolWorker-\d+\] Task tasks\.does\[reject\] reject requeue=False: rejected",
        r"INFO/MainProcess\] Task other name\[full request\] received",
        r"INFO/ForkPoolWorker-\d+\] Task other name\[full request\] succeeded in ",
        r"WARNING/MainProcess\] Soft time limit \(1s\) exceeded for tasks\.slow\[soft\]",
        r"ERROR/MainProcess\] Hard time limit \(1s\) exceeded for tasks\.endless\[hard\]",
        r"ERROR/MainProcess\] Task handler raised error: WorkerLostError\('Worker exited prematurely: exitcode 9\.'\)",
        r"INFO/MainProcess\] Discarding revoked task: tasks\.add\[expired\]",
        r"ERROR/MainProcess\] Received unregistered task of type 'no\.such\.task'\.",
        r"WARNING/ForkPoolWorker-\d+\] tasks\.says\[says\]: logged",
        r"WARNING/ForkPoolWorker-\d+\] printed in one line$",
        r"WARNING/ForkPoolWorker-\d+\] without end$",
        r"^ ?\.> queues|\[queues\]",
        r"\.> celery +exchange=celery\(direct\) key=celery",
        r"^  \. tasks\.add$",
        r"INFO/MainProcess\] Connected to ",
        r"INFO/MainProcess\] w1@here ready\.",
    ],
)
def test_log_line(run: Outcome, line: str) -> None:
    assert re.search(line, run.worker.output, re.MULTILINE), run.worker.output[-4000:]


def test_nothing_is_printed_twice(run: Outcome) -> None:
    assert len(re.findall(r"\[plain\] received", run.worker.output)) == 1
    assert len(re.findall(r"\[plain\] succeeded", run.worker.output)) == 1


def test_end(run: Outcome) -> None:
    """Last: the worker ends, and has told of its life in the documented order."""
    assert run.worker.stop() == 0
    assert "worker: Warm shutdown (MainProcess)" in run.worker.output
    life = [note[1].removeprefix("signal ") for note in run.notes if note[0] is None]
    once = [name for name in dict.fromkeys(life) if not name.startswith("worker_process")]
    assert once == [
        "import_modules",
        "celeryd_init",
        "celeryd_after_setup",
        "worker_init",
        "worker_ready",
        "worker_shutting_down",
        "worker_shutdown",
    ]
    assert life.index("worker_process_init") < life.index("worker_shutting_down")
    assert "worker_process_shutdown" in life

"""Seed documents, 'Tasks' and 'Calling': examples run by a real worker on the embedded store."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support import Project, WorkerProcess

    Setup = tuple[Project, WorkerProcess]
    Calls = Callable[[str], list[str]]

TASKS = """
    import asyncio, logging, sys, time
    from celery import Celery, Task, states
    from celery.exceptions import Ignore, Reject
    from celery.result import AsyncResult
    from celery.utils.log import get_task_logger

    app = Celery('tasks')
    app.conf.update(result_extended=True, accept_content=['json', 'pickle', 'yaml', 'msgpack'])
    logger = get_task_logger(__name__)

    class FailWhaleError(Exception): pass
    class HttpNotFound(Exception): pass

    @app.task
    def add(x, y, debug=None): return x + y

    @app.task
    def mul(x, y): return x * y

    @app.task(bind=True)
    def log_id(self, x, y):
        logger.info(self.request.id)
        return x + y

    class MyTask(Task):
        def on_failure(self, exc, task_id, args, kwargs, einfo):
            print('{0!r} failed: {1!r}'.format(task_id, exc))

    @app.task(base=MyTask)
    def keyerror(x, y): raise KeyError()

    @app.task(bind=True)
    def dump_context(self, x, y):
        print('Executing task id {0.id}, args: {0.args!r} kwargs: {0.kwargs!r}'.format(self.request))
        names = ('id group chord correlation_id args kwargs origin retries is_eager eta expires hostname delivery_info'
                 ' reply_to called_directly timelimit callbacks errbacks utc headers root_id parent_id chain').split()
        return {name: repr(getattr(self.request, name)) for name in names}

    @app.task
    def prints(): print('said by a task'); return 1

    @app.task(bind=True, max_retries=3)
    def twitter(self, exc=True):
        try:
            raise FailWhaleError('whale')
        except FailWhaleError as error:
            raise self.retry(exc=error if exc else None, countdown=0)

    @app.task(autoretry_for=(FailWhaleError,), retry_kwargs={'max_retries': 5, 'countdown': 0})
    def refresh_timeline(user): raise FailWhaleError(user)

    @app.task(throws=(KeyError, HttpNotFound))
    def get_foo(): raise HttpNotFound('no foo')

    @app.task(bind=True)
    def upload_files(self, filenames):
        for i, file in enumerate(filenames):
            if not self.request.called_directly:
                self.update_state(state='PROGRESS', meta={'current': i, 'total': len(filenames)})
        time.sleep(1)
        return 'uploaded'

    class HttpError(Exception):
        def __init__(self, status_code, headers=None, body=None):
            self.status_code = status_code
            super().__init__(status_code, headers, body)

    class BadHttpError(Exception):
        def __init__(self, status_code, headers):
            self.status_code = status_code

    @app.task(serializer='pickle')
    def http(good): raise HttpError(404, {'a': 1}, 'x') if good else BadHttpError(404, {})

    @app.task
    def ignores(): raise Ignore()

    @app.task(bind=True)
    def ignores_with_state(self):
        self.update_state(state=states.SUCCESS, meta=['timeline'])
        raise Ignore()

    @app.task(bind=True, acks_late=True)
    def requeues(self):
        if not self.request.delivery_info['redelivered']:
            raise Reject('no reason', requeue=True)
        print('received two times')

    class _AddTask(app.Task):
        name = 'tasks.add2'
        def run(self, x, y): return x + y

    app.register_task(_AddTask())

    class NaiveAuthenticateServer(Task):
        name = 'tasks.auth'
        def __init__(self): self.users = {'george': 'password'}
        def run(self, username, password): return self.users.get(username) == password

    app.register_task(NaiveAuthenticateServer())

    class Handlers(Task):
        def before_start(self, task_id, args, kwargs): print('HANDLER before_start')
        def on_success(self, retval, task_id, args, kwargs): print('HANDLER on_success')
        def on_failure(self, exc, task_id, args, kwargs, einfo): print('HANDLER on_failure')
        def on_retry(self, exc, task_id, args, kwargs, einfo): print('HANDLER on_retry')
        def after_return(self, status, retval, task_id, args, kwargs, einfo): print('HANDLER after_return', status)

    @app.task(base=Handlers, bind=True)
    def handled(self, how):
        if how == 'retry' and not self.request.retries:
            raise self.retry(countdown=0)
        if how == 'fail':
            raise ValueError(how)

    @app.task(ignore_result=True)
    def mytask(x, y): return x + y

    @app.task
    def waits(): return hello.delay(2, 2).get(timeout=5)

    @app.task
    def waits_allowed(): return add.delay(2, 2).get(timeout=10, disable_sync_subtasks=False)

    @app.task
    def error_handler(uuid):
        result = AsyncResult(uuid)
        exc = result.get(propagate=False)
        print('Task {0} raised exception: {1!r}'.format(uuid, exc))

    @app.task
    def log_error(request, exc, traceback):
        print('ERRBACK {0} {1!r} {2}'.format(request.id, exc, bool(traceback)))

    @app.task
    def reset_buffers(): print('buffers reset')

    @app.task(bind=True)
    def hello(self, a, b):
        time.sleep(0.3)
        self.update_state(state="PROGRESS", meta={'progress': 50})
        time.sleep(0.3)
        self.update_state(state="PROGRESS", meta={'progress': 90})
        time.sleep(0.3)
        return 'hello world: %i' % (a + b)

    @app.task(bind=True)
    def headers(self): return [self.request.headers, self.get_logger().name]

    @app.task
    def coroutine():
        async def inner(): return 42
        return asyncio.run(inner())

    @app.task
    async def native(x):
        await asyncio.sleep(0.01)
        return x + 1

    @app.task(bind=True, max_retries=2)
    def process_file(self, path):
        try:
            open(path).read()
        except FileNotFoundError:
            raise
        except OSError as e:
            if self.request.retries < self.max_retries:
                raise self.retry(exc=e, countdown=0)
            raise
"""


@pytest.fixture(scope="module")
def setup(module_project: Project) -> Iterator[Setup]:
    module_project.write("tasks.py", TASKS)
    with module_project.worker() as worker:
        yield module_project, worker


@pytest.fixture
def calls(setup: Setup) -> Calls:
    """Run a script that has everything of `tasks` and returns its printed lines."""
    return lambda code: setup[0].python("from tasks import *\n" + code).splitlines()


def test_task_logger(setup: Setup, calls: Calls) -> None:  # 3-T2, T7
    [task_id] = calls("r = log_id.delay(1, 2); r.get(timeout=10); print(r.id)")
    setup[1].wait_for(rf"tasks\.log_id\[{task_id}\]: {task_id}")
    calls("prints.delay().get(timeout=10)")
    setup[1].wait_for(r"WARNING/ForkPoolWorker-\d+\] said by a task")


def test_on_failure(setup: Setup, calls: Calls) -> None:  # 3-T3
    [task_id] = calls("r = keyerror.delay(1, 2); r.get(timeout=10, propagate=False); print(r.id)")
    setup[1].wait_for(rf"'{task_id}' failed: KeyError\(\)")


def test_request(setup: Setup, calls: Calls) -> None:  # 3-T6
    [found] = calls("print(dump_context.delay(1, 2).get(timeout=10))")
    assert "'args': '[1, 2]'" in found
    assert "'is_eager': 'False'" in found
    assert "'called_directly': 'False'" in found
    setup[1].wait_for(r"Executing task id .*, args: \[1, 2\] kwargs: {}")


def test_hidden_arguments(setup: Setup, calls: Calls) -> None:  # 3-T11
    calls("add.apply_async((2, 3), argsrepr='(<secret-x>, <secret-y>)').get(timeout=10)")


def test_retry_gives_up(calls: Calls) -> None:  # 3-T12, T14
    assert calls("""
for task, args in ((twitter, ()), (refresh_timeline, ('me',))):
    r = task.delay(*args)
    print(repr(r.get(timeout=20, propagate=False)), r.state, r.retries)
r = twitter.delay(exc=False)
print(type(r.get(timeout=20, propagate=False)).__name__)
""") == ["FailWhaleError('whale') FAILURE 3", "FailWhaleError('me') FAILURE 5", "MaxRetriesExceededError"]


def test_throws(setup: Setup, calls: Calls) -> None:  # 3-T16
    assert calls("r = get_foo.delay(); r.get(timeout=10, propagate=False); print(r.state)") == ["FAILURE"]
    line = setup[1].wait_for(r".*tasks\.get_foo\[.*\] raised expected: HttpNotFound\('no foo'\)(.*)$")[0]
    assert "INFO" in line


def test_progress(calls: Calls) -> None:  # 3-T18, 0-39
    assert calls("""
r = upload_files.delay(['a', 'b', 'c'])
while r.state == 'PENDING':
    time.sleep(0.01)
print(r.state, r.info['total'], r.get(timeout=10), upload_files(['x']))
""") == ["PROGRESS 3 uploaded uploaded"]


def test_pickled_exceptions(calls: Calls) -> None:  # 3-T19
    printed = calls("""
app.conf.result_serializer = 'json'
r = http.delay(True)
print(repr(r.get(timeout=10, propagate=False)))
r = http.delay(False)
print('404' in repr(r.get(timeout=10, propagate=False)) or repr(r.result))
print(add.delay(1, 1).get(timeout=10))
""")
    assert printed[0] == "HttpError(404, {'a': 1}, 'x')"
    assert printed[-1] == "2"


def test_ignore(calls: Calls) -> None:  # 3-T20
    assert calls("""
first, second = ignores.delay(), ignores_with_state.delay()
print(second.get(timeout=10), second.state)
print(add.delay(1, 1).get(timeout=10), first.state)
""") == ["['timeline'] SUCCESS", "2 PENDING"]


def test_requeue(setup: Setup, calls: Calls) -> None:  # 3-T22
    calls("requeues.delay().get(timeout=10)")
    assert setup[1].output.count("received two times") == 1


def test_class_based(calls: Calls) -> None:  # 3-T23, T24
    assert calls("""
print(app.send_task('tasks.add2', (2, 3)).get(timeout=10))
print(app.send_task('tasks.auth', ('george', 'password')).get(timeout=10),
      app.tasks['tasks.auth'].delay('george', 'x').get(timeout=10))
""") == ["5", "True False"]


def test_handlers_in_order(setup: Setup, calls: Calls) -> None:  # 3-T26
    def handlers(how: str) -> list[str]:
        start = setup[1].output.count("HANDLER")
        calls(f"handled.delay({how!r}).get(timeout=10, propagate=False); add.delay(1, 1).get(timeout=10)")
        wanted = start + (5 if how == "retry" else 3)
        wait_until(lambda: setup[1].output.count("HANDLER") >= wanted, message=lambda: setup[1].output)
        return re.findall(r"HANDLER (.*)", setup[1].output)[start:]

    assert handlers("ok") == ["before_start", "on_success", "after_return SUCCESS"]
    assert handlers("fail") == ["before_start", "on_failure", "after_return FAILURE"]
    retried = handlers("retry")
    # The second attempt may begin in the other child before the first has called its handler.
    retried.remove("on_retry")
    assert retried == ["before_start", "before_start", "on_success", "after_return SUCCESS"]


def test_ignore_result(calls: Calls) -> None:  # 3-T29
    assert calls("""
print(mytask.apply_async((1, 2), ignore_result=False).get(timeout=10))
print(mytask.apply_async((1, 2), ignore_result=True).get(timeout=10))
""") == ["3", "None"]


def test_waiting_inside_a_task(calls: Calls) -> None:  # 3-T30
    printed = calls("""
print(repr(waits.delay().get(timeout=10, propagate=False)))
print(waits_allowed.delay().get(timeout=20))
""")
    assert "Never call result.get() within a task!" in printed[0]
    assert printed[1] == "4"


def test_links(calls: Calls) -> None:  # 3-K3, V4, V6, V16, V18
    printed = calls("""
r = add.apply_async((2, 2), link=mul.s(16))
print(r.get(timeout=10))
print(r.children[0].get(timeout=10))
s = add.s(2, 2)
s.link(mul.s(4))
s.link(reset_buffers.si())
r = s.delay()
print(r.get(timeout=10), len(r.children[0]))
""")
    assert printed == ["4", "64", "4 2"]


def test_link_values(calls: Calls) -> None:  # 3-K5, V16
    printed = calls("""
r = add.apply_async((2, 2), link=[add.s(16), mul.s(3)])
r.get(timeout=10)
print(sorted(r.children[0].get(timeout=10)))
print([v for _, v in add.apply_async((2, 2), link=mul.s(16)).collect()])
""")
    assert printed == ["[12, 20]", "[4, 64]"]


def test_errbacks(setup: Setup, calls: Calls) -> None:  # 3-K4, V18, V19
    [one, two] = calls("""
r = keyerror.apply_async((2, 2), link_error=error_handler.s()); r.get(timeout=10, propagate=False); print(r.id)
r = keyerror.s(2, 2).on_error(log_error.s()).delay(); r.get(timeout=10, propagate=False); print(r.id)
""")
    setup[1].wait_for(rf"Task {one} raised exception: KeyError\(")
    setup[1].wait_for(rf"ERRBACK {two} KeyError\(.*\) True")


def test_on_message(calls: Calls) -> None:  # 3-K6
    printed = calls("""
def on_raw_message(body): print(sorted(body), body['status'], body['result'])
r = hello.apply_async(args=(4, 6))
print(r.get(on_message=on_raw_message, propagate=False, timeout=20))
""")
    assert printed[-1] == "hello world: 10"
    assert "SUCCESS hello world: 10" in printed[-2]
    assert any("PROGRESS {'progress': 50}" in line for line in printed)


def test_countdown_and_expiry(calls: Calls) -> None:  # 3-K1, K7, K8, 0-31
    printed = calls("""
from datetime import datetime, timedelta, timezone
start = time.time()
print(add.apply_async((2, 2), countdown=1).get(timeout=20), time.time() - start >= 1)
print(add.apply_async((2, 2), eta=datetime.now(timezone.utc) + timedelta(seconds=1)).get(timeout=20))
print(add.apply_async((10, 10), expires=60).get(timeout=20))
r = add.apply_async((10, 10), expires=datetime.now(timezone.utc) - timedelta(seconds=60))
print(type(r.get(timeout=20, propagate=False)).__name__, r.state)
""")
    assert printed == ["4 True", "4", "20", "TaskRevokedError REVOKED"]


def test_serializers_and_compression(calls: Calls) -> None:  # 3-K11, K12
    assert calls("""
for serializer in ('json', 'pickle', 'yaml', 'msgpack'):
    assert add.apply_async((10, 10), serializer=serializer).get(timeout=20) == 20, serializer
for compression in ('zlib', 'gzip', 'bzip2', 'lzma'):
    assert add.apply_async((10, 10), compression=compression).get(timeout=20) == 20, compression
print('all')
""") == ["all"]


def test_publisher_by_hand(calls: Calls) -> None:  # 3-K13, T5
    assert calls("""
results = []
with add.app.pool.acquire(block=True) as connection:
    with add.get_publisher(connection) as publisher:
        for args in [(2, 2), (4, 4), (8, 8), (16, 16)]:
            results.append(add.apply_async(args, publisher=publisher))
print([res.get(timeout=10) for res in results])
""") == ["[4, 8, 16, 32]"]


def test_result_extended(calls: Calls) -> None:  # 3-K17
    printed = calls("""
r = add.apply_async((2, 2), {'debug': True}); r.get(timeout=10)
print(r.name, list(r.args), r.kwargs, '@' in r.worker, r.retries, r.queue)
""")
    assert printed == ["tasks.add [2, 2] {'debug': True} True 0 celery"]


def test_signature_calls(calls: Calls) -> None:  # 3-V2, V3, V5
    assert calls("""
print(add.s(2, 2)(), add.s(2, 2).delay().get(timeout=10), ~add.s(2, 2))
partial = add.s(2)
print(partial.delay(4).get(timeout=10), partial.apply_async((4,)).get(timeout=10))
start = time.time()
print(add.signature((2, 2), countdown=100).apply_async(countdown=1).get(timeout=20), time.time() - start >= 1)
""") == ["4 4 4", "6 6", "4 True"]


def test_headers_and_logger(calls: Calls) -> None:  # 0-33, 0-34, T4
    assert calls("print(headers.apply_async(headers={'tenant': 'Client1'}).get(timeout=10))") == [
        "[{'tenant': 'Client1'}, 'tasks.headers']"
    ]


def test_async(calls: Calls) -> None:  # 0-43
    assert calls("print(coroutine.delay().get(timeout=10), native.delay(41).get(timeout=10))") == ["42 42"]


def test_permanent_error(calls: Calls, setup: Setup) -> None:  # 0-15
    (setup[0].path / "a-folder").mkdir()
    assert calls("""
r = process_file.delay('missing'); print(type(r.get(timeout=10, propagate=False)).__name__, r.retries)
r = process_file.delay('a-folder'); print(type(r.get(timeout=10, propagate=False)).__name__, r.retries)
""") == ["FileNotFoundError 0", "IsADirectoryError 2"]


def test_status_by_id(calls: Calls) -> None:  # 0-17, 0-29
    assert calls("""
good, bad = add.delay(1, 1), keyerror.delay(1, 1)
for r in (good, bad):
    r.get(timeout=10, propagate=False)
    res = AsyncResult(r.id, app=app)
    print(res.status, res.ready(), res.successful(), res.failed(), repr(res.result), bool(res.traceback))
""") == ["SUCCESS True True False 2 False", "FAILURE True False True KeyError() True"]


def test_result_command(setup: Setup, calls: Calls) -> None:  # 3-C32
    [task_id] = calls("r = add.delay(20, 3); r.get(timeout=10); print(r.id)")
    assert setup[0].celery("-A", "tasks", "result", "-t", "tasks.add", task_id).stdout.strip() == "23"

"""Seed documents, section on workflows: every example, as it is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support import Project

TASKS = """
    import os, time
    from celery import Celery, Task, chain, chord, group, signature, maybe_signature
    from celery.result import AsyncResult

    app = Celery('tasks')
    DIR = os.path.dirname(os.path.abspath(__file__))

    def note(name, *what):
        with open(os.path.join(DIR, name), 'a') as fh: print(*what, file=fh)

    @app.task
    def add(x, y, debug=False): return x + y
    @app.task
    def mul(x, y): return x * y
    @app.task
    def xsum(numbers): return sum(numbers)
    @app.task
    def tsum(numbers): return sum(numbers)
    @app.task
    def reset_buffers(): note('reset', 'called')
    @app.task
    def log_result(value): note('results', value)
    @app.task
    def raising_task(): raise ValueError('something something')
    @app.task
    def maybe_raising(x, y):
        if x == 7: raise ValueError('seven')
        return x + y
    @app.task
    def upload_document(file): return file.upper()
    @app.task
    def apply_filter(document, name='f'): return f'{name}({document})'
    @app.task
    def import_contact(contact): return contact
    @app.task
    def notify_complete(import_id): note('notified', import_id)
    @app.task
    def create_user(username, first, last, email): return username
    @app.task
    def import_contacts(user): return f'contacts of {user}'
    @app.task
    def send_welcome_email(user): return f'mail to {user}'
    @app.task
    def error_handler(uuid):
        result = AsyncResult(uuid)
        exc = result.get(propagate=False)
        note('by_id', 'Task {0} raised exception: {1!r}\\n{2!r}'.format(uuid, exc, result.traceback))
    @app.task
    def log_error(request, exc, traceback):
        with open(os.path.join(DIR, request.id), 'a') as fh:
            print('--\\n\\n{0} {1} {2}'.format(request.id, exc, traceback), file=fh)
    @app.task
    def on_chord_error(request, exc, traceback):
        note('chord_errors', 'Task {0!r} raised error: {1!r}'.format(request.id, exc))
    @app.task
    def temp(): return [xsum(range(10)), xsum(range(100))]

    class MyTask(Task):
        ignore_result = False
        def after_return(self, *args, **kwargs):
            note('after_return', self.name)
            super(MyTask, self).after_return(*args, **kwargs)

    @app.task(base=MyTask)
    def project_of(x): return x

    @app.task(bind=True)
    def unlock_chord(self, group, callback, interval=1, max_retries=None):
        if group.ready(): return maybe_signature(callback).delay(group.join())
        raise self.retry(countdown=interval, max_retries=max_retries)
"""


@pytest.fixture(scope="module")
def ask(module_project: Project) -> Iterator[Callable[[str], list[str]]]:
    """Runs lines of a user's program beside a worker; returns what it printed."""
    module_project.write("tasks.py", TASKS)
    head = "from tasks import *\nfrom tests_support import until\n"
    module_project.write(
        "tests_support.py",
        """
        import time

        def until(condition, seconds=20):
            deadline = time.monotonic() + seconds
            while not condition():
                assert time.monotonic() < deadline
                time.sleep(0.01)
        """,
    )

    def run(code: str) -> list[str]:
        lines = head + "\n".join(line.removeprefix("        ") for line in code.strip("\n").splitlines())
        return module_project.python(lines).splitlines()

    with module_project.worker("-P", "threads", "-c", "4"):
        yield run


def test_links(ask):
    """3-K3, 3-K5, 3-V4, 3-V6, 3-V18"""
    assert ask("""
        res = add.apply_async((2, 2), link=add.s(16)); print(res.get(timeout=20), res.children[0].get(timeout=20))
        res = add.apply_async((2, 2), link=[add.s(16), log_result.s()])
        print(res.get(timeout=20), [c.get(timeout=20) for c in res.children])
        res = add.apply_async((2, 2), link=reset_buffers.signature(immutable=True))
        res.children[0].get(timeout=20) if res.get(timeout=20) else None
        res = add.apply_async((2, 2), link=reset_buffers.si()); res.get(timeout=20); res.children[0].get(timeout=20)
        s = add.s(2, 2); s.link(mul.s(4)); s.link(log_result.s()); res = s.delay()
        print(res.get(timeout=20), [c.get(timeout=20) for c in res.children])
        print(open('reset').read().split(), open('results').read().split())
    """) == ["4 20", "4 [[20, None]]", "4 [[16, None]]", "['called', 'called'] ['4', '4']"]


def test_errbacks(ask):
    """3-K4, 3-V18, 3-V19"""
    found = ask("""
        res = raising_task.apply_async(link_error=error_handler.s()); res.get(timeout=20, propagate=False)
        until(lambda: os.path.exists('by_id') and open('by_id').read()); print(open('by_id').readline().strip() == f"Task {res.id} raised exception: ValueError('something something')")
        res = raising_task.s().on_error(log_error.s()).delay(); res.get(timeout=20, propagate=False)
        until(lambda: os.path.exists(res.id) and len(open(res.id).read().splitlines()) > 2); print(open(res.id).read().splitlines()[2])
    """)
    assert found[0] == "True"
    assert "something something" in found[1]


def test_signatures(ask):
    """3-V1, 3-V2, 3-V3, 3-V5"""
    assert ask("""
        print(signature('tasks.add', args=(2, 2), countdown=10), add.signature((2, 2), countdown=10), add.s(2, 2, debug=True))
        s = add.signature((2, 2), {'debug': True}, countdown=10); print(s.args, s.kwargs, s.options)
        print(add.s(2, 2)(), add.s(2, 2).delay().get(timeout=20), add.signature((2, 2), countdown=1).apply_async().get(timeout=20))
        print(add.s(2, 2).set(countdown=1).options, add.s(2).delay(8).get(timeout=20), add.s(2).clone(args=(4,), kwargs={'debug': True}))
        print(add.s(2, 2).delay(debug=True).get(timeout=20), ~add.s(2, 2))
    """) == [
        "tasks.add(2, 2) tasks.add(2, 2) tasks.add(2, 2, debug=True)",
        "(2, 2) {'debug': True} {'countdown': 10}",
        "4 4 4",
        "{'countdown': 1} 10 tasks.add(4, 2, debug=True)",
        "4 4",
    ]


def test_groups(ask):
    """3-K14, 3-V7, 3-V22, 3-V23"""
    assert ask("""
        numbers = [(2, 2), (4, 4), (8, 8), (16, 16)]
        print(group(add.s(i, j) for i, j in numbers).apply_async().get(timeout=20))
        print(group(add.s(i, i) for i in range(10))().get(timeout=20))
        g = group(add.s(i) for i in range(10)); print(g(10).get(timeout=20))
        print(len(group(add.s(i, i) for i in range(100))()))
        print(group(add.s(2, 2), add.s(4, 4)))
        job = group([add.s(2, 2), add.s(4, 4), add.s(8, 8), add.s(16, 16), add.s(32, 32)]); result = job.apply_async()
        print(result.get(timeout=20), result.ready(), result.successful(), result.failed(), result.waiting(), result.completed_count(), result.join())
    """) == [
        "[4, 8, 16, 32]",
        str([2 * i for i in range(10)]),
        str([10 + i for i in range(10)]),
        "100",
        "group((tasks.add(2, 2), add(4, 4)))",
        "[4, 8, 16, 32, 64] True True False False 5 [4, 8, 16, 32, 64]",
    ]


def test_chains(ask):
    """3-V8, 3-V11, 3-V13, 3-V20"""
    assert ask("""
        print(chain(add.s(4, 4) | mul.s(8))().get(timeout=20), chain(add.s(4) | mul.s(8))(4).get(timeout=20), (add.s(4, 4) | mul.s(8))().get(timeout=20))
        print(chain(add.s(2, 2), add.s(4), add.s(8))().get(timeout=20), (add.s(2, 2) | add.s(4) | add.s(8))().get(timeout=20))
        res = (add.si(2, 2) | add.si(4, 4) | add.si(8, 8))(); print(res.get(timeout=20), res.parent.get(timeout=20), res.parent.parent.get(timeout=20))
        c1 = (add.s(4) | mul.s(8)); c2 = (add.s(4, 16) | mul.s(2) | (add.s(4) | mul.s(8))); print(c1(16).get(timeout=20), c2().get(timeout=20))
        c3 = (group(add.s(i, i) for i in range(10)) | xsum.s()); print(c3().get(timeout=20))
        c = chain(add.s(4, 4), mul.s(8), mul.s(10)); print(c); res = c()
        print(res.get(timeout=20), res.parent.get(timeout=20), res.parent.parent.get(timeout=20), (add.s(2, 2) | mul.s(8) | mul.s(10)).apply_async().get(timeout=20))
    """) == [
        "64 64 64",
        "16 16",
        "16 8 4",
        "160 352",
        "90",
        "tasks.add(4, 4) | mul(8) | mul(10)",
        "640 64 8 320",
    ]


def test_chords(ask):
    """3-V9, 3-V12, 3-V24, 3-V27, 3-V29"""
    assert ask("""
        print(chord((add.s(i, i) for i in range(10)), xsum.s())().get(timeout=20), (group(add.s(i, i) for i in range(10)) | xsum.s())().get(timeout=20))
        chord((import_contact.s(c) for c in 'abc'), notify_complete.si(7)).apply_async().get(timeout=20); print(open('notified').read().strip())
        print(chord(add.s(i, i) for i in range(100))(tsum.s()).get(timeout=20))
        callback = tsum.s(); header = [add.s(i, i) for i in range(100)]; result = chord(header)(callback); print(result.get(timeout=20))
        print(chord([project_of.s(1), project_of.s(2)], xsum.s())().get(timeout=20), end=' ')
        until(lambda: len(open('after_return').read().split()) == 2); print(open('after_return').read().split())
    """) == ["90 90", "7", "9900", "9900", "3 ['tasks.project_of', 'tasks.project_of']"]


def test_chord_errors(ask):
    """3-V25, 3-V26"""
    found = ask("""
        c = chord([add.s(4, 4), raising_task.s(), add.s(8, 8)], xsum.s()); result = c()
        try: result.get(timeout=20)
        except Exception as exc: print(type(exc).__name__, str(exc).replace(str(result.parent.results[1].id), 'ID'))
        print(result.parent.results[2].get(timeout=20))
        try: chord([add.s(4, 4), raising_task.s(), add.s(8, 8)])()
        except TypeError as exc: print('TypeError', 'no body' in str(exc))
        c = (group(maybe_raising.s(i, i) for i in range(10)) | xsum.s().on_error(on_chord_error.s())).delay(); c.get(timeout=20, propagate=False)
        until(lambda: os.path.exists('chord_errors') and open('chord_errors').read()); print(open('chord_errors').read().count('raised error'))
    """)
    assert found == [
        "ChordError Dependency ID raised ValueError('something something')",
        "16",
        "TypeError True",
        "1",
    ]


def test_combined(ask):
    """3-V10, 3-V14, 3-V15"""
    assert ask("""
        filters = [{'name': n} for n in 'ab']
        print((upload_document.s('doc') | group(apply_filter.s(**f) for f in filters))().get(timeout=20))
        flow = (create_user.s() | group(import_contacts.s(), send_welcome_email.s()))
        print(flow.delay(username='artv', first='Art', last='Vandelay', email='art@vandelay.com').get(timeout=20))
        res = (add.s(4, 4) | group(add.si(i, i) for i in range(10)))(); print(res.get(timeout=20), type(res).__name__, res.parent.get(timeout=20))
    """) == [
        "['a(DOC)', 'b(DOC)']",
        "['contacts of artv', 'mail to artv']",
        f"{[2 * i for i in range(10)]} GroupResult 8",
    ]


def test_graphs(ask):
    """3-V16, 3-V17, 3-V21"""
    found = ask("""
        res = add.apply_async((2, 2), link=mul.s(16)); print(res.get(timeout=20), [type(c).__name__ for c in res.children], res.children[0].get(timeout=20))
        print([(type(r).__name__, v) for r, v in res.collect(timeout=20)])
        res = chain(add.s(4, 4), mul.s(8), mul.s(10))(); res.get(timeout=20)
        print(res.parent.parent.graph)
        with open('graph.dot', 'w') as fh: res.parent.parent.graph.to_dot(fh)
        print(open('graph.dot').read().startswith('digraph'))
    """)
    assert found[:2] == ["4 ['AsyncResult'] 64", "[('AsyncResult', 4), ('AsyncResult', 64)]"]
    assert sum("(1)" in line or "-> " in line or "(" in line for line in found[2:-1]) >= 2
    assert found[-1] == "True"


def test_many_at_once(ask):
    """3-V30, 3-V31, 3-V32, 3-V33"""
    assert ask("""
        print(~xsum.map([range(10), range(100)]), temp.delay().get(timeout=20), ~add.starmap(zip(range(10), range(10))))
        print([len(part) for part in add.chunks(zip(range(100), range(100)), 10)().get(timeout=20)])
        items = zip(range(1000), range(1000)); print(len(add.chunks(items, 10).group()))
        g = add.chunks(zip(range(100), range(100)), 10).group(); print([t.options['countdown'] for t in g.skew(start=1, stop=10).tasks])
    """) == [
        f"[45, 4950] [45, 4950] {[2 * i for i in range(10)]}",
        str([10] * 10),
        "100",
        str([float(i) for i in range(1, 11)]),
    ]

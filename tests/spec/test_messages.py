"""What a worker reads: protocols 1 and 2, serializers, compression, messages that make no sense."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Project, WorkerProcess

TASKS = """
    from celery import Celery

    app = Celery('m', accept_content=['json', 'yaml', 'pickle', 'msgpack'])

    @app.task
    def add(x, y): return x + y

    @app.task
    def echo(*args, **kwargs): return [repr(args), repr(kwargs)]

    @app.task(bind=True)
    def custom(self): return [self.request.stamps, self.request.stamped_headers, self.request.headers]
"""

CLIENT = """
    import datetime, decimal, json, uuid, warnings
    from kombu import Producer
    from tasks import *
    warnings.simplefilter('ignore')
    results = {}

    def raw(headers, body, content_type='application/json', content_encoding='utf-8', **properties):
        with app.connection_for_write() as connection:
            Producer(connection.channel()).publish(
                body, exchange='', routing_key='celery', headers=headers, content_type=content_type,
                content_encoding=content_encoding, **properties)

    def send(label, *args, **options):
        results[label] = echo.apply_async(args, task_id=label, **options)

    def read(label, headers, body, **options):
        raw(headers, json.dumps(body), **options)
        results[label] = app.AsyncResult(label)

    send('extended types', datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc), datetime.date(2030, 1, 1),
         datetime.time(1, 2), decimal.Decimal('1.5'), uuid.UUID(int=5), b'\\xff', b'ab', (1, 2), None, 'é')
    for name in ('json', 'yaml', 'pickle', 'msgpack'):
        send(name, 1, [2], 'é', serializer=name)
    for name in ('zlib', 'gzip', 'bzip2', 'bzip', 'lzma', 'xz'):
        send(name, 'x' * 20, compression=name)

    read('protocol 1', {}, {'task': 'tasks.add', 'id': 'protocol 1', 'args': [1, 2], 'kwargs': {}, 'retries': 0, 'eta': None})
    read('protocol 1 callback', {}, {
        'task': 'tasks.add', 'id': 'p1', 'args': [1, 2], 'kwargs': {}, 'taskset': None, 'group': None, 'chord': None,
        'errbacks': None, 'timelimit': [None, None], 'expires': None, 'utc': True, 'callbacks': [
            {'task': 'tasks.echo', 'args': [], 'kwargs': {}, 'options': {'task_id': 'protocol 1 callback'},
             'subtask_type': None, 'immutable': False}]})
    read('protocol 1 minimum', {}, {'task': 'tasks.add', 'id': 'protocol 1 minimum', 'args': [3, 4]})
    two = lambda label, **more: {'task': 'tasks.add', 'id': label, **more}
    read('minimum', two('minimum'), [[1, 2], {}, {}])
    read('null embed', two('null embed', lang='js'), [[1, 2], {}, None])
    read('hybrid', two('hybrid'), {'task': 'tasks.add', 'id': 'hybrid', 'args': [5, 2], 'kwargs': {}})
    read('naive eta', two('naive eta', eta='2020-01-01T00:00:00'), [[1, 2], {}, {}])
    read('expired', two('expired', expires='2020-01-01T00:00:00'), [[1, 2], {}, {}])
    read('wrong keyword', two('wrong keyword'), [[1, 2], {'z': 1}, {}])
    read('headers', {'task': 'tasks.custom', 'id': 'headers', 'stamps': {'a': 'b'}, 'stamped_headers': ['a'], 'trace': 't'},
         [[], {}, {}])
    read('other node', two('other node', origin='js@host', argsrepr=None, kwargsrepr=None, timelimit=None), [[1, 2], {}, {}])

    raw({}, 'garbage')
    raw({}, '{}')
    raw({}, '[1, 2, 3]')
    raw({'task': 'tasks.add'}, '[[1, 2], {}, {}]')
    raw(two('no triple'), '5')
    raw(two('bad retries', retries='many'), '[[1, 2], {}, {}]')
    raw(two('bad eta', eta='tomorrow'), '[[1, 2], {}, {}]')
    raw(two('args no list'), '["ab", {}, {}]')
    raw(two('kwargs no mapping'), '[[1, 2], [3], {}]')
    raw(two('xml'), '<x/>', content_type='application/xml')
    results['alive'] = add.apply_async((7, 7), task_id='alive')

    answers = {}
    for label, result in results.items():
        try:
            answers[label] = [result.get(timeout=20), result.state]
        except Exception as exc:
            answers[label] = [repr(exc), result.state]
    print(json.dumps(answers))
"""

Run = tuple[dict[str, Any], "WorkerProcess", "Project"]


@pytest.fixture(scope="module")
def run(module_project: Project) -> Iterator[Run]:
    """The answers, the worker that gave them, and their project."""
    module_project.write("tasks.py", TASKS)
    with module_project.worker() as worker:
        yield json.loads(module_project.python(CLIENT)), worker, module_project


@pytest.mark.parametrize(
    ("label", "value"),
    [
        *((name, ["(1, [2], 'é')", "{}"]) for name in ("json", "yaml", "pickle", "msgpack")),
        *(
            (name, ["('xxxxxxxxxxxxxxxxxxxx',)", "{}"])
            for name in ("zlib", "gzip", "bzip2", "bzip", "lzma", "xz")
        ),
        ("protocol 1", 3),
        ("protocol 1 callback", ["(3,)", "{}"]),
        ("protocol 1 minimum", 7),
        ("minimum", 3),
        ("null embed", 3),
        ("hybrid", 7),
        ("naive eta", 3),
        ("other node", 3),
        ("headers", [{"a": "b"}, ["a"], {"trace": "t"}]),
        ("alive", 14),
    ],
)
def test_runs(run: Run, label: str, value: object) -> None:
    assert run[0][label] == [value, "SUCCESS"]


def test_json_keeps_types(run: Run) -> None:
    (args, _), _ = run[0]["extended types"]
    assert args == (
        "(datetime.datetime(2030, 1, 1, 0, 0, tzinfo=datetime.timezone.utc), datetime.date(2030, 1, 1),"
        " datetime.time(1, 2), Decimal('1.5'), UUID('00000000-0000-0000-0000-000000000005'), b'\\xff', b'ab',"
        " [1, 2], None, 'é')"
    )


def test_expired(run: Run) -> None:
    assert run[0]["expired"] == ["TaskRevokedError('expired')", "REVOKED"]


def test_wrong_keyword(run: Run) -> None:
    assert run[0]["wrong keyword"] == [
        "TypeError(\"add() got an unexpected keyword argument 'z'\")",
        "FAILURE",
    ]


@pytest.mark.parametrize(
    ("line", "times"),
    [
        (r"CRITICAL/MainProcess\] Can't decode message body: ", 5),
        (r"Received and deleted unknown message", 2),
        (r"Received invalid task message: ", 3),
    ],
)
def test_each_senseless_message_is_logged_once(run: Run, line: str, times: int) -> None:
    assert len(re.findall(line, run[1].output)) == times, run[1].output


def test_senseless_messages_are_dead_letters(run: Run) -> None:
    def listed() -> list[str]:
        return run[2].celery("-A", "tasks", "dlq", "list").stdout.strip().splitlines()[1:]

    wait_until(lambda: len(listed()) == 10, message=lambda: "\n".join(listed()) + run[1].output)

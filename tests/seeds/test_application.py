"""Seed documents, 'Application': examples that need no worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support import Project


def test_repr(project: Project) -> None:  # 3-B1, B2, B3
    printed = project.python("""
        from celery import Celery
        app = Celery()
        print(repr(app))

        @app.task
        def add(x, y): return x + y

        print(repr(add))
        print(add.name)
        print(app.tasks["__main__.add"].name == add.name)
        named = Celery('tasks')

        @named.task
        def sub(x, y): return x - y

        print(named.main, sub.name)
        """).splitlines()
    assert printed[0].startswith("<Celery __main__ at 0x")
    assert printed[1].startswith("<@task: __main__.add of __main__ at 0x")
    assert printed[2:] == ["__main__.add", "True", "tasks tasks.sub"]


def test_configuration_values(project: Project) -> None:  # 3-B5, B6
    assert project.python("""
        from celery import Celery
        app = Celery()
        app.conf.timezone = 'Europe/London'
        app.conf.enable_utc = True
        print(app.conf.timezone)
        app.conf.update(enable_utc=True, timezone='Europe/London')
        app.add_defaults({'my_key': 1})
        print(app.conf.my_key)
        app.conf.my_key = 2
        print(app.conf.my_key)
        """).split() == ["Europe/London", "1", "2"]


@pytest.mark.parametrize(
    "source",
    ["'celeryconfig'", "'myproj.config.celery'", "'myproj.config:CeleryConfig'", "celeryconfig", "Config"],
)
def test_configuration_objects(project: Project, source: str) -> None:  # 3-B7
    project.write("celeryconfig.py", "enable_utc = True\ntimezone = 'Europe/London'\n")
    project.write("myproj/__init__.py", "")
    project.write("myproj/config/__init__.py", "class CeleryConfig:\n    timezone = 'Europe/London'\n")
    project.write("myproj/config/celery.py", "timezone = 'Europe/London'\n")
    printed = project.python(f"""
        import celeryconfig
        from celery import Celery

        class Config:
            enable_utc = True
            timezone = 'Europe/London'

        app = Celery()
        app.config_from_object({source})
        print(app.conf.timezone, app.conf.enable_utc)
        """)
    assert printed.split() == ["Europe/London", "True"]


def test_configuration_from_environment(project: Project) -> None:  # 3-B8
    project.write("celeryconfig.py", "timezone = 'Europe/London'\n")
    assert (
        project.python("""
        import os
        from celery import Celery
        os.environ.setdefault('CELERY_CONFIG_MODULE', 'celeryconfig')
        app = Celery()
        app.config_from_envvar('CELERY_CONFIG_MODULE')
        print(app.conf.timezone)
        """).strip()
        == "Europe/London"
    )


def test_default_app_reads_its_module(project: Project) -> None:  # 3-B8
    project.write("celeryconfig/__init__.py", "")
    project.write("celeryconfig/prod.py", "task_default_queue = 'from-the-environment'\n")
    with project.worker(app=None, CELERY_CONFIG_MODULE="celeryconfig.prod") as worker:
        assert "from-the-environment" in worker.output


def test_censored(project: Project) -> None:  # 3-B9
    printed = project.python("""
        from celery import Celery
        app = Celery(broker='redis://:topsecret@localhost/0')
        app.conf.update(my_api_token='topsecret', task_default_queue='q')
        print(app.conf.humanize(with_defaults=False, censored=True))
        print(app.conf.table(with_defaults=False, censored=True))
        """)
    assert "topsecret" not in printed
    assert "task_default_queue: 'q'" in printed
    assert "********" in printed


def test_laziness(project: Project) -> None:  # 3-B10
    printed = project.python("""
        from celery import Celery
        app = Celery()

        @app.task
        def add(x, y): return x + y

        print(type(add), add.__evaluated__())
        repr(add)
        print(add.__evaluated__())
        """).splitlines()
    assert printed == ["<class 'celery.local.PromiseProxy'> False", "True"]


def test_app_chain(project: Project) -> None:  # 3-B12
    project.python("""
        from celery import Celery, current_app
        from celery.app import app_or_default

        class Scheduler:
            def __init__(self, app=None):
                self.app = app_or_default(app)

        app = Celery('mine')
        assert Scheduler().app is app
        assert current_app.main == 'mine'
        """)
    traced = project.python(
        "from celery.app import app_or_default; app_or_default()", check=False, CELERY_TRACE_APP="1"
    )
    assert "DEFAULT APP" in traced


def test_base_classes(project: Project) -> None:  # 3-B14, B15
    assert project.python("""
        from celery import Celery, Task
        app = Celery('mine', broker='memory://')

        class DebugTask(Task):
            def __call__(self, *args, **kwargs):
                print('TASK STARTING: {0.name}[{0.request.id}]'.format(self))
                return super().__call__(*args, **kwargs)

        @app.task(base=DebugTask)
        def add(x, y): return x + y

        print(add.apply((1, 2), task_id='one').get())

        class MyBaseTask(Task):
            queue = 'hipri'

        other = Celery('other', broker='memory://')
        other.Task = MyBaseTask

        @other.task
        def mul(x, y): return x * y

        print(isinstance(mul, MyBaseTask), mul.queue, any(c is MyBaseTask for c in mul.__class__.mro()))
        """).splitlines()[-3:] == ["TASK STARTING: mine.add[one]", "3", "True hipri True"]


def test_names(project: Project) -> None:  # 3-T4, T5
    project.write("moduleA/__init__.py", "")
    project.write(
        "moduleA/tasks.py",
        """
        from proj import app

        @app.task
        def taskA(): pass
        """,
    )
    project.write(
        "proj.py",
        """
        from celery import Celery

        class MyCelery(Celery):
            def gen_task_name(self, name, module):
                if module.endswith('.tasks'):
                    module = module[:-6]
                return super().gen_task_name(name, module)

        app = MyCelery('main')
        """,
    )
    assert project.python("""
        from proj import app
        from moduleA.tasks import taskA

        @app.task(name='sum-of-two-numbers')
        def add(x, y): return x + y

        print(taskA.name, add.name)
        """).split() == ["moduleA.taskA", "sum-of-two-numbers"]


def test_registry(project: Project) -> None:  # 3-T28
    assert "celery.backend_cleanup" in project.python("""
        from celery import Celery
        print(sorted(Celery().tasks))
        """)


def test_argument_check(project: Project) -> None:  # 3-T10, T24
    printed = project.python("""
        from celery import Celery
        app = Celery('tasks', broker='memory://')

        @app.task
        def add(x, y): return x + y

        @app.task(typing=False)
        def loose(x, y): return x + y

        print(type(add.delay(8, 8)).__name__)
        try:
            add.delay(8)
        except TypeError as exc:
            print(exc)
        print(type(loose.delay(8)).__name__)
        try:
            add.apply_async(1, 2)
        except TypeError as exc:
            print(exc)
        """).splitlines()
    assert printed[0] == printed[2] == "AsyncResult"
    assert "missing 1 required positional argument: 'y'" in printed[1]
    assert "args=(1, 2)" in printed[3]


def test_publish_when_the_broker_is_gone(project: Project) -> None:  # 3-K9, K10
    (project.path / "folder").mkdir()
    printed = project.python("""
        import time
        from celery import Celery
        from celery.utils.log import get_logger
        app = Celery('tasks', broker='sqlite:///' + __import__('os').path.abspath('folder'))
        logger = get_logger(__name__)

        @app.task
        def add(x, y): return x + y

        for options in ({'retry': False}, {'retry': True, 'retry_policy': {
                'max_retries': 3, 'interval_start': 0, 'interval_step': 0.2, 'interval_max': 0.2}}):
            try:
                add.apply_async((2, 2), **options)
            except add.OperationalError as exc:
                logger.exception('Sending task raised: %r', exc)
                print('caught', exc)
        """)
    assert printed.count("caught") == 2
    assert "folder" in printed


def test_serializers_and_compression(project: Project) -> None:  # 3-K11, K12 (headers)
    printed = project.python("""
        from celery import Celery
        from celery.signals import before_task_publish
        app = Celery('tasks', broker='memory://')

        @app.task
        def add(x, y): return x + y

        for serializer in ('json', 'pickle', 'yaml', 'msgpack'):
            add.apply_async((10, 10), serializer=serializer)
        for compression in ('zlib', 'gzip', 'bzip2', 'lzma'):
            add.apply_async((2, 2), compression=compression)
        print(app.broker_for_write().size('celery'))
        """)
    assert printed.strip() == "8"


def test_signatures(project: Project) -> None:  # 3-V1, V2, V3
    assert project.python("""
        from celery import Celery, signature
        app = Celery('tasks')

        @app.task(name='tasks.add')
        def add(x, y, debug=None): return x + y

        print(signature('tasks.add', args=(2, 2), countdown=10), add.s(2, 2), add.s(2, 2, debug=True), sep=' | ')
        s = add.signature((2, 2), {'debug': True}, countdown=10)
        print(s.args, s.kwargs, s.options)
        print(add.s(2, 2)())
        print(add.s(2, 2).set(countdown=1).options)
        print(add.s(2).clone(args=(4,), kwargs={'debug': True}))
        print(add.si(2, 2).immutable, add.signature((1,), immutable=True).immutable)
        """).splitlines() == [
        "tasks.add(2, 2) | tasks.add(2, 2) | tasks.add(2, 2, debug=True)",
        "(2, 2) {'debug': True} {'countdown': 10}",
        "4",
        "{'countdown': 1}",
        "tasks.add(4, 2, debug=True)",
        "True True",
    ]


def test_eager_tests(project: Project) -> None:  # 0-22
    printed = project.python("""
        from celery import Celery
        app = Celery('tasks')
        app.conf.update(task_always_eager=True, task_eager_propagates=True)

        @app.task
        def boom(): raise ValueError('boom')

        try:
            boom.delay()
        except ValueError as exc:
            print('raised', exc)
        """)
    assert printed.strip() == "raised boom"


def test_removed_settings_are_no_error(project: Project) -> None:  # T27
    project.python("""
        from celery import Celery
        app = Celery('tasks')
        app.conf.update(CELERY_SEND_TASK_ERROR_EMAILS=True)
        app.conf.task_serializer
        """)


def test_old_names(project: Project) -> None:  # T21, T22
    project.python("""
        from celery.exceptions import SoftTimeLimitExceeded, SoftTimeLimitException
        assert SoftTimeLimitException is SoftTimeLimitExceeded
        """)

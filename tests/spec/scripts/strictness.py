"""Settings: near-misses, wrong types, the environment, annotations, autodiscovery."""
# ruff: noqa: B023 - questions are put at once, where they stand

import os
import sys
from pathlib import Path

from probe import show

import celery
from celery import Celery, current_app


def make(*args, **options):
    return Celery(*args, set_as_current=False, **options)


def loaded(**settings):
    app = make("loaded")
    app.config_from_object(settings)
    return app.conf


# -- names
for name in [
    "task_serialiser",
    "TASK_SERIALIZER",
    "task_always_eagre",
    "worker_concurency",
    "CELERY_TASK_ALWAYS_EAGER",
    "broker_urls",
    "entirely_unrelated",
]:
    show("name " + name, lambda: loaded(**{name: "json"})[name])

# -- types
WRONG = {
    "broker_pool_limit": "x",
    "task_always_eager": "maybe",
    "result_expires": "soon",
    "task_queues": "celery",
    "accept_content": 5,
    "task_time_limit": "5s",
    "broker_transport_options": "x",
    "task_publish_retry_policy": [1],
}
for name, value in WRONG.items():
    show("type " + name, lambda: getattr(loaded(**{name: value}), name))
RIGHT = {
    "worker_prefetch_multiplier": "2",
    "imports": "single.module",
    "accept_content": ["json"],
    "task_always_eager": "yes",
    "result_expires": "60",
    "broker_pool_limit": None,
}
for name, value in RIGHT.items():
    show("fits " + name, lambda: getattr(loaded(**{name: value}), name))

# -- the environment
ENVIRONMENT = {
    "CELERY_WORKER_CONCURRENCY": "7",
    "CELERY_TASK_ALWAYS_EAGER": "yes",
    "CELERY_RESULT_EXPIRES": "90",
    "CELERY_TASK_ROUTES": '{"a": "b"}',
    "CELERY_ACCEPT_CONTENT": "json,pickle",
    "CELERY_TASK_SOFT_TIME_LIMIT": "2.5",
    "CELERY_TIMEZONE": "Asia/Tokyo",
    "CELERY_TASK_DEFAULT_QUEUE": "of the environment",
}
os.environ.update(ENVIRONMENT)
conf = make("environment").conf
show("environment", lambda: [conf[name.removeprefix("CELERY_").lower()] for name in ENVIRONMENT])
show("environment and source", lambda: loaded(timezone="UTC").timezone)
show("environment and code", lambda: make("code", task_default_queue="of the code").conf.task_default_queue)
os.environ["CELERY_TASK_TIME_LIMIT"] = "abc"
show("environment wrong", lambda: make("wrong").conf.task_time_limit)
for name in [*ENVIRONMENT, "CELERY_TASK_TIME_LIMIT"]:
    del os.environ[name]

# -- annotations
annotated = make(
    "annotated", task_annotations={"t": {"rate_limit": "5/s", "extra": 1}, "*": {"max_retries": 9}}
)


@annotated.task(name="t", shared=False)
def task():
    return 1


class Annotation:
    def annotate(self, task):
        return {"its_name": task.name}


show("annotations", lambda: (task.rate_limit, task.extra, task.max_retries))
by_class = make("by class", task_annotations=[Annotation()])
show("annotation class", lambda: by_class.task(name="u", shared=False)(lambda: 1).its_name)

# -- autodiscovery
sys.path.insert(0, str(Path.cwd()))
SHARED = "from celery import shared_task\n@shared_task\ndef found(): return 1\n"
for package, module, text in [
    ("with_tasks", "tasks", SHARED),
    ("with_jobs", "jobs", SHARED),
    ("with_error", "tasks", "import not_there\n"),
    ("with_nothing", "other", ""),
]:
    Path(package).mkdir()
    Path(package, "__init__.py").touch()
    Path(package, f"{module}.py").write_text(text)


def discovered(*packages, **options):
    app = make("discovering")
    app.autodiscover_tasks(*packages, force=True, **options)
    return sorted(name for name in app.tasks if name.startswith("with_"))


show("autodiscover", lambda: discovered(["with_tasks", "with_nothing"]))
show("autodiscover callable", lambda: discovered(lambda: ["with_jobs"], related_name="jobs"))
show("autodiscover config class", lambda: discovered(["with_tasks.Config"]))
show("autodiscover package", lambda: discovered(["with_nothing"], related_name=None))
show("autodiscover error", lambda: discovered(["with_error"]))
show("autodiscover no package", lambda: discovered(["not_there_at_all"]))


def lazily():
    app = make("lazily")
    app.autodiscover_tasks(["with_late"])
    Path("with_late").mkdir()
    Path("with_late", "__init__.py").touch()
    Path("with_late", "tasks.py").write_text(SHARED)
    app.loader.import_default_modules()
    return "with_late.tasks.found" in app.tasks


show("autodiscover lazily", lazily)
show("imports missing", lambda: make("m", imports=["not.there"]).loader.import_default_modules())

# -- the current app
show("default app", lambda: (current_app.main, bool(celery.current_task)))
mine = Celery("mine")
show("current app", lambda: (current_app.main, current_app == mine, repr(mine)))
make("other").set_current()
show("set_current", lambda: current_app.main)
with Celery("context") as inside:
    show("context", lambda: inside.main)
show(
    "on_init", lambda: type("Own", (Celery,), {"on_init": lambda self: setattr(self, "ready", 1)})("o").ready
)
show("gen_task_name", lambda: (mine.gen_task_name("f", "__main__"), mine.gen_task_name("f", "m.n")))


class Named(Celery):
    def gen_task_name(self, name, module):
        return f"own:{name}"


show("own names", lambda: Named("n", set_as_current=False).task(make).name)
show(
    "task_cls",
    lambda: issubclass(
        make("t", task_cls=type("Base", (celery.Task,), {"abstract": True})).Task, celery.Task
    ),
)
show("loader", lambda: type(make("l", loader="default").loader).__name__)
show("oid", lambda: (len(mine.oid), mine.oid == mine.oid, mine.thread_oid == mine.thread_oid))
show("steps", lambda: (mine.steps["worker"], mine.user_options["worker"]))
show("pool", lambda: (mine.pool.limit, type(mine.pool).__name__))
conn = make("c", broker="amqp://u:p@h:99/v").connection()
show(
    "connection",
    lambda: (conn.hostname, conn.userid, conn.port, conn.virtual_host, conn.connect_timeout, conn.connected),
)
show("uri", lambda: conn.as_uri())
show("strict typing", lambda: make("s", strict_typing=False).task(name="s", shared=False)(make).typing)

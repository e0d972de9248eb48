"""Where configuration comes from, which source wins, and what can be asked of it."""
# ruff: noqa: B018, E402 - questions stand where they are asked

import os
import pickle
import sys
from pathlib import Path

from probe import show


def write(name, text):
    Path(name).write_text(text)


write("celeryconfig.py", "task_serializer='yaml'\nresult_expires=77\n")
write("oldconf.py", "CELERY_TASK_SERIALIZER='yaml'\nBROKER_URL='memory://'\nCELERYD_CONCURRENCY=3\n")
write("mixed.py", "CELERY_TASK_SERIALIZER='yaml'\nBROKER_URL='memory://'\nworker_concurrency=3\n")
write(
    "nsconf.py",
    "CELERY_TASK_SERIALIZER='yaml'\nCELERY_BROKER_URL='memory://'\nOTHER=1\nCELERY_RESULT_EXPIRES=5\n",
)
write("boom.py", "1/0\n")
sys.path.insert(0, os.getcwd())
import celery
from celery import Celery


def A(*a, **k):
    return Celery(*a, set_as_current=False, **k)


show(
    "ver",
    lambda: (
        celery.__version__,
        celery.SERIES,
        celery.VERSION_BANNER,
        tuple(celery.VERSION)[:3],
        celery.version_info._fields,
    ),
)


def f():
    a = A("x")
    a.config_from_object("celeryconfig")
    return a.conf.task_serializer, a.conf.result_expires


show("cfo", f)


def f():
    a = A("x")
    a.config_from_object("oldconf")
    c = a.conf
    return (
        c.task_serializer,
        c.broker_url,
        c.worker_concurrency,
        c.CELERYD_CONCURRENCY,
        c["CELERYD_CONCURRENCY"],
        c.BROKER_URL,
        c["BROKER_URL"],
        c.get("BROKER_URL"),
        "BROKER_URL" in c,
        "broker_url" in c,
    )


show("old", f)


def f():
    a = A("x")
    a.config_from_object("oldconf")
    a.conf.broker_url
    return sorted(a.conf.deprecated_settings or ())


show("dep", f)


def f():
    a = A("x")
    a.config_from_object("mixed")
    return a.conf.task_serializer


show("mixed", f)


def f():
    a = A("x")
    a.config_from_object("nsconf", namespace="CELERY")
    return a.conf.task_serializer, a.conf.broker_url, a.conf.result_expires, a.conf.get("OTHER")


show("ns", f)


def f():
    a = A("x", namespace="CELERY")
    a.config_from_object("nsconf")
    return a.conf.task_serializer, a.conf.broker_url, a.conf.result_expires


show("ns2", f)
show("missing", lambda: (lambda a: (a.config_from_object("nosuchmod"), a.conf.task_serializer))(A("x")))
show(
    "missing silent",
    lambda: (lambda a: (a.config_from_object("nosuchmod", silent=True), a.conf.task_serializer))(A("x")),
)
show("missing force", lambda: (lambda a: a.config_from_object("nosuchmod", force=True))(A("x")))
show("missing attr", lambda: (lambda a: (a.config_from_object("nsconf:zip"), a.conf.task_serializer))(A("x")))
show("boom", lambda: (lambda a: (a.config_from_object("boom"), a.conf.task_serializer))(A("x")))
show(".py", lambda: (lambda a: (a.config_from_object("celeryconfig.py"), a.conf.task_serializer))(A("x")))
show(
    "force ret", lambda: (lambda a: a.config_from_object("celeryconfig", force=True).task_serializer)(A("x"))
)
show("envvar unset", lambda: A("x").config_from_envvar("NOPE_NOPE"))
show("envvar unset silent", lambda: A("x").config_from_envvar("NOPE_NOPE", silent=True))
os.environ["MYC"] = "celeryconfig"
show("envvar", lambda: (lambda a: (a.config_from_envvar("MYC"), a.conf.task_serializer))(A("x")))


class Cfg:
    task_serializer = "pickle"
    enable_utc = False


show(
    "class",
    lambda: (lambda a: (a.config_from_object(Cfg), a.conf.task_serializer, a.conf.enable_utc))(A("x")),
)
show(
    "inst",
    lambda: (lambda a: (a.config_from_object(Cfg()), a.conf.task_serializer, a.conf.enable_utc))(A("x")),
)
show(
    "dict",
    lambda: (lambda a: (a.config_from_object({"task_serializer": "msgpack"}), a.conf.task_serializer))(
        A("x")
    ),
)


def f():
    a = A("x")
    a.conf.task_serializer = "yaml"
    a.config_from_object(Cfg)
    return a.conf.task_serializer, a.conf.enable_utc


show("presets win", f)


def f():
    a = A("x")
    a.config_from_object(Cfg)
    a.add_defaults({"task_serializer": "yaml", "result_expires": 1})
    a.add_defaults(lambda: {"result_expires": 2})
    return a.conf.task_serializer, a.conf.result_expires


show("add_defaults", f)


def f():
    a = A("x")
    a.conf.task_serializer
    a.add_defaults({"result_expires": 2})
    return a.conf.result_expires


show("add_defaults after", f)


def f():
    a = A("x")
    a.config_from_object(Cfg)
    r = [a.conf.task_serializer]
    a.config_from_object({"result_expires": 3})
    return r, a.conf.task_serializer, a.conf.result_expires


show("second replaces", f)


def f():
    log = []
    a = A("x")
    a.on_configure.connect(lambda **k: log.append(("conf", sorted(k))), weak=False)
    a.on_after_configure.connect(
        lambda source=None, **k: log.append(("after", type(source).__name__)), weak=False
    )
    a.conf.task_serializer
    a.conf.result_expires
    return log


show("signals", f)
show(
    "kw presets",
    lambda: (
        lambda a: (a.conf.task_protocol, a.conf.result_expires, a.conf.broker_url, a.conf.result_backend)
    )(A("x", task_protocol=1, result_expires=60, broker="memory://", backend="rpc://")),
)
a = A("x")
show(
    "update",
    lambda: (
        a.conf.update(task_serializer="yaml"),
        a.conf.update({"result_expires": 9}, enable_utc=False),
        a.conf.task_serializer,
        a.conf.result_expires,
        a.conf.enable_utc,
    ),
)
show("setdefault", lambda: (a.conf.setdefault("nope_x", 4), a.conf.nope_x))
show("unknown attr", lambda: a.conf.completely_unknown)
show("unknown item", lambda: a.conf["completely_unknown"])
show("get", lambda: a.conf.get("completely_unknown", 5))
show("without_defaults", lambda: sorted(a.conf.without_defaults().items()))
show("value_set_for", lambda: (a.conf.value_set_for("task_serializer"), a.conf.value_set_for("task_routes")))
show(
    "find_option",
    lambda: (
        a.conf.find_option("concurrency", "worker"),
        a.conf.find_option("always_eager"),
    ),
)
show("find_option2", lambda: a.conf.find_option("nosuch_opt_at_all"))
show("find_value_for_key", lambda: a.conf.find_value_for_key("always_eager"))
show("get_by_parts", lambda: a.conf.get_by_parts("task", "serializer"))
show("first", lambda: a.conf.first("task_routes", "task_serializer"))
show(
    "either",
    lambda: (
        a.either("task_serializer", None, 3),
        a.either("task_serializer", None),
        a.either("task_serializer"),
    ),
)
show("copy", lambda: type(a.conf.copy()).__name__)
b = A("y", broker="amqp://u:secret@h:1/v", backend="redis://:pw@h/1")
b.conf.update(
    security_key="k",
    my_token="x",
    nested={"PASSWORD": "p", "ok": [1, {"secret": 2}]},
    broker_read_url="redis://:pw@h/1;redis://:p2@i/2",
)
show("humanize", lambda: b.conf.humanize())
show("humanize unc", lambda: b.conf.humanize(censored=False))
show("table", lambda: sorted(b.conf.table().items(), key=str))
show(
    "default ex",
    lambda: (b.conf.task_default_exchange, b.conf.task_default_routing_key, b.conf.task_default_queue),
)
b.conf.task_default_queue = "zz"
show(
    "default ex2",
    lambda: (b.conf.task_default_exchange, b.conf.task_default_routing_key, b.conf.task_default_queue),
)
show("tz", lambda: (b.conf.timezone, str(b.timezone), b.uses_utc_timezone()))
c = A("z", timezone="Europe/Oslo")
show(
    "tz2", lambda: (c.conf.timezone, str(c.timezone), c.uses_utc_timezone(), c.now().utcoffset() is not None)
)
c = A("z", enable_utc=False)
show("tz3", lambda: (c.uses_utc_timezone(),))
c = A("z", timezone="Nowhere/Zone")
show("tz bad", lambda: c.timezone)
c = A("z")
c.config_from_object({"TIME_ZONE": "Asia/Tokyo"})
show("tz django", lambda: str(c.timezone))
show("contains lazy", lambda: "task_serializer" in A("q").conf)
show("del", lambda: (a.conf.__setitem__("zz", 1), a.conf.pop("zz")))
show("delattr", lambda: (a.conf.__setitem__("zz", 1), delattr(a.conf, "zz")))
show("repr conf", lambda: type(a.conf).__name__)
show(
    "cmdline",
    lambda: sorted(
        A("x")
        .config_from_cmdline(
            [
                "worker.prefetch_multiplier=10",
                ".concurrency=3",
                "broker.url=memory://",
                "task.always_eager=1",
            ],
            "worker",
        )
        .items()
        if A("x").config_from_cmdline(["worker.prefetch_multiplier=10"], "worker")
        else []
    ),
)


def f():
    a = A("x")
    r = a.config_from_cmdline(
        [
            "worker.prefetch_multiplier=10",
            ".concurrency=3",
            "_hijack_root_logger=no",
            'task.routes=(dict){"a":"b"}',
            "broker.pool_limit=5",
            "x.y=(int)3",
        ],
        "worker",
    )
    return (
        r,
        a.conf.worker_prefetch_multiplier,
        a.conf.worker_concurrency,
        a.conf.broker_pool_limit,
        a.conf.worker_hijack_root_logger,
        a.conf.task_routes,
    )


show("cmdline2", f)


def f():
    a = A("pk", broker="memory://", task_protocol=1)
    a.config_from_object(Cfg)
    a.conf.task_serializer
    b = pickle.loads(pickle.dumps(a))
    return b.main, b.conf.broker_url, b.conf.task_protocol, b.conf.task_serializer, type(b).__name__


show("pickle", f)
os.environ["CELERY_BROKER_URL"] = "memory://env"
show("env", lambda: A("x", broker="memory://preset").conf.broker_url)
show("env r", lambda: A("x", broker="memory://preset").conf.broker_read_url)
os.environ["CELERY_BROKER_READ_URL"] = "memory://envr"
show(
    "env r2",
    lambda: (lambda c: (c.broker_read_url, c.broker_write_url, c.broker_url))(
        A("x", broker="memory://preset").conf
    ),
)
os.environ["CELERY_RESULT_BACKEND"] = "cache+memory://"
show("env b", lambda: A("x", backend="rpc").conf.result_backend)
import celery.app.defaults as D
from celery.app.defaults import NAMESPACES, Option, strtobool

show("option", lambda: (NAMESPACES["task"]["always_eager"].type, NAMESPACES["task"]["always_eager"].default))
show(
    "to_python",
    lambda: (
        Option(type="bool").to_python("yes"),
        Option(type="int").to_python("5"),
        Option(3, type="float").to_python("5"),
    ),
)
show("strtobool", lambda: (strtobool("on"), strtobool("0"), strtobool(5)))
show("strtobool bad", lambda: strtobool("maybe"))
show("find", lambda: tuple(D.find("worker_concurrency"))[:2])

"""Signals, logging, platforms, loaders, trace formats, worker state: the parts that others hook into."""
# ruff: noqa: B023 - questions are put at once, where they stand

import io
import logging
import os
import signal as os_signal

from probe import show

from celery import Celery, platforms, signals
from celery.app import trace
from celery.app.log import TaskFormatter
from celery.app.task import Context
from celery.loaders.base import BaseLoader, find_related_module
from celery.utils import debug, sysinfo, term, threads
from celery.utils.dispatch import Signal
from celery.utils.log import ColorFormatter, LoggingProxy, get_logger, get_task_logger, mlevel
from celery.worker import state

app = Celery("parts", broker="memory://", backend="cache+memory://")

# -- signals
own = Signal(name="own", providing_args={"a"})
heard = []


@own.connect
def receiver(sender=None, **kwargs):
    heard.append(sorted(kwargs))
    return "got"


show("send", lambda: [result for _, result in own.send(sender=None, a=1)])
show("heard", lambda: heard)
show("has_listeners", lambda: (own.has_listeners(), Signal(name="x").has_listeners()))
show("receivers", lambda: len(own.receivers))
show("disconnect", lambda: (own.disconnect(receiver), own.send(sender=None)))
show("disconnect again", lambda: own.disconnect(receiver))


def broken(**kwargs):
    raise ValueError("broken receiver")


own.connect(broken, weak=False)
show("broken", lambda: [type(result).__name__ for _, result in own.send(sender=None)])
by_sender = Signal(name="by sender")
by_sender.connect(lambda sender=None, **k: "only a", sender="a", weak=False)
show("sender", lambda: ([r for _, r in by_sender.send(sender="a")], by_sender.send(sender="b")))
uid = Signal(name="uid")
uid.connect(lambda **k: 1, dispatch_uid="u", weak=False)
uid.connect(lambda **k: 2, dispatch_uid="u", weak=False)
show("dispatch_uid", lambda: [r for _, r in uid.send(sender=None)])
show("disconnect uid", lambda: (uid.disconnect(dispatch_uid="u"), uid.send(sender=None)))
weak = Signal(name="weak")


def connect_weakly():
    def gone(**kwargs):
        return 1

    weak.connect(gone)


connect_weakly()
show("weak", lambda: weak.send(sender=None))
show("no kwargs", lambda: Signal(name="z").connect(lambda: 1))
show("not callable", lambda: Signal(name="z").connect(5))
show("args", lambda: sorted(signals.task_failure.providing_args))
show("repr", lambda: repr(Signal(name="named")))
show("decorator", lambda: signals.task_success.connect(sender="x")(receiver) is receiver)
NAMES = [
    *("after_setup_logger", "after_setup_task_logger", "after_task_publish", "before_task_publish"),
    *("celeryd_after_setup", "celeryd_init", "heartbeat_sent", "import_modules", "setup_logging"),
    *("task_failure", "task_internal_error", "task_postrun", "task_prerun", "task_received", "task_rejected"),
    *("task_retry", "task_revoked", "task_success", "task_unknown", "user_preload_options"),
    *("worker_before_create_process", "worker_init", "worker_process_init", "worker_process_shutdown"),
    *("worker_ready", "worker_shutdown", "worker_shutting_down", "beat_init", "beat_embedded_init"),
    *(
        "eventlet_pool_started",
        "eventlet_pool_preshutdown",
        "eventlet_pool_postshutdown",
        "eventlet_pool_apply",
    ),
]
for name in NAMES:
    show(
        "signal " + name,
        lambda: (isinstance(getattr(signals, name), Signal), sorted(getattr(signals, name).providing_args)),
    )

# -- logging
show("mlevel", lambda: (mlevel("info"), mlevel(5), mlevel("ERROR"), mlevel(None)))
show(
    "get_logger",
    lambda: (get_logger("celery.x").name, get_task_logger("mine").name, get_task_logger("mine").parent.name),
)
show("task logger name", lambda: get_task_logger("celery.task"))


def proxied():
    out = io.StringIO()
    logger = logging.getLogger("proxied")
    logger.addHandler(logging.StreamHandler(out))
    logger.propagate = False
    proxy = LoggingProxy(logger, logging.ERROR)
    proxy.write("said\n")
    proxy.write("  \n")
    proxy.writelines(["one", "two"])
    proxy.flush()
    return out.getvalue(), proxy.isatty(), proxy.closed


show("LoggingProxy", proxied)


def formatted(formatter, **extra):
    record = logging.LogRecord("n", logging.ERROR, "f", 1, "text %s", ("é",), None)
    record.__dict__.update(extra)
    return formatter.format(record)


show(
    "ColorFormatter",
    lambda: (
        formatted(ColorFormatter("%(levelname)s %(message)s")),
        formatted(ColorFormatter("%(message)s", use_color=False)),
    ),
)
show(
    "TaskFormatter",
    lambda: formatted(TaskFormatter("%(task_name)s %(task_id)s %(message)s", use_color=False)),
)
show(
    "formats",
    lambda: (
        trace.LOG_RECEIVED,
        trace.LOG_SUCCESS,
        trace.LOG_FAILURE,
        trace.LOG_INTERNAL_ERROR,
        trace.LOG_IGNORED,
        trace.LOG_REJECTED,
        trace.LOG_RETRY,
    ),
)
show(
    "colored",
    lambda: (
        str(term.colored(enabled=True).red("x")),
        str(term.colored(enabled=False).red("x")),
        term.colored(enabled=True).bold("x").no_color(),
    ),
)
show(
    "supports_color",
    lambda: app.log.supports_color(True, None),
)
show("already_setup", lambda: app.log.already_setup)

# -- platforms
show(
    "exits",
    lambda: (
        platforms.EX_OK,
        platforms.EX_FAILURE,
        platforms.EX_UNAVAILABLE,
        platforms.EX_USAGE,
        platforms.EX_CANTCREAT,
    ),
)
show(
    "uid",
    lambda: (
        platforms.parse_uid("root"),
        platforms.parse_uid(0),
        platforms.parse_gid("root"),
        platforms.parse_uid("1000"),
    ),
)
show("uid unknown", lambda: platforms.parse_uid("nobody-of-this-name"))
show("gid unknown", lambda: platforms.parse_gid("nobody-of-this-name"))
show(
    "signals",
    lambda: (
        platforms.signals.signum("TERM"),
        platforms.signals.signum("SIGTERM"),
        platforms.signals.supported("INT"),
        platforms.signals.supported("NOPE"),
    ),
)
show(
    "signals ignore",
    lambda: (
        platforms.signals.ignore("USR1"),
        os_signal.getsignal(os_signal.SIGUSR1) == os_signal.SIG_IGN,
        platforms.signals.reset("USR1"),
        os_signal.getsignal(os_signal.SIGUSR1) == os_signal.SIG_DFL,
    ),
)
show(
    "signals set",
    lambda: (
        platforms.signals.__setitem__("USR2", receiver),
        os_signal.getsignal(os_signal.SIGUSR2) is receiver,
    ),
)
show("signal_name", lambda: platforms.signal_name(15))
show("pyimplementation", lambda: platforms.pyimplementation())
show("isatty", lambda: platforms.isatty(io.StringIO()))


def ignored():
    with platforms.ignore_errno("ENOENT"):
        os.stat("not here")
    return "ignored"


show("ignore_errno", ignored)


def pidfile():
    made = platforms.create_pidlock("x.pid")
    with open("x.pid") as file:
        text = file.read()
    read = platforms.Pidfile("x.pid").read_pid()
    mode = oct(os.stat("x.pid").st_mode & 0o777)
    made.release()
    return text == f"{os.getpid()}\n", read == os.getpid(), mode, os.path.exists("x.pid")


show("Pidfile", pidfile)
with open("bad.pid", "w") as file:
    file.write("garbage\n")


def reading(path):
    try:
        return platforms.Pidfile(path).read_pid()
    except ValueError as exc:
        return str(exc).replace(os.getcwd() + "/", "")


show("Pidfile bad", lambda: reading("bad.pid"))
with open("part.pid", "w") as file:
    file.write("123")
show("Pidfile partial", lambda: reading("part.pid"))
show("Pidfile missing", lambda: platforms.Pidfile("none.pid").read_pid())
show("fdmax", lambda: platforms.get_fdmax(None) is not None)
show("check_privileges", lambda: platforms.check_privileges(["json"]))

# -- loaders
loader = BaseLoader(app)
show("loader config", lambda: (loader.conf == {}, loader.now().year > 2000))
show(
    "find_related_module",
    lambda: (
        find_related_module("os", "path").__name__,
        find_related_module("json", "nope"),
        find_related_module("json", None).__name__,
    ),
)
show(
    "cmdline_config_parser",
    lambda: loader.cmdline_config_parser(["worker.pool=solo", "broker.pool_limit=3", "x.y=(json)[1]"]),
)
show("cmdline bad", lambda: loader.cmdline_config_parser(["nonsense"]))
show("import_from_cwd", lambda: loader.import_from_cwd("json").__name__)
show("read_configuration", lambda: loader.read_configuration("NOT_SET_AT_ALL"))

# -- requests
show(
    "Context",
    lambda: (
        lambda c: (
            c.id,
            c.get("x", 1),
            c.nope if hasattr(c, "nope") else "no",
            c.delivery_info,
            c.as_execution_options(),
        )
    )(Context({"id": "i", "delivery_info": {"routing_key": "q", "priority": 3}, "correlation_id": "c"})),
)
show("Context update", lambda: (lambda c: (c.update(a=1), c.a, c.clear(), c.get("a")))(Context()))
show("Context children", lambda: (Context().children, Context(id="a").id, repr(Context(id="x"))[:8]))

# -- worker state
show(
    "state",
    lambda: (
        state.REVOKES_MAX,
        state.REVOKE_EXPIRES,
        state.SUCCESSFUL_MAX,
        state.SUCCESSFUL_EXPIRES,
        state.should_stop,
        state.should_terminate,
        state.SOFTWARE_INFO["sw_ident"],
    ),
)
show(
    "state sets",
    lambda: [
        len(getattr(state, n))
        for n in (
            "requests",
            "reserved_requests",
            "active_requests",
            "scheduled_requests",
            "revoked",
            "successful_requests",
            "total_count",
        )
    ],
)
show("maybe_shutdown", lambda: state.maybe_shutdown())


def shutdown():
    state.should_stop = 3
    try:
        state.maybe_shutdown()
    finally:
        state.should_stop = None


show("shutdown", shutdown)

# -- others
show("humanbytes", lambda: [debug.humanbytes(n) for n in (0, 1, 2000, 3e6, 4e9)])
show("hfloat", lambda: (debug.hfloat(1.5), debug.hfloat(10.123456)))
show("load_average", lambda: len(sysinfo.load_average()))
show(
    "auto",
    lambda: (
        sysinfo.is_auto_concurrency("auto"),
        sysinfo.is_auto_concurrency("AUTO"),
        sysinfo.is_auto_concurrency(3),
        sysinfo.cpu_budget() >= 1,
    ),
)
show("Local", lambda: (lambda s: (s.push(1), s.push(2), s.top, s.pop(), s.top, len(s)))(threads.LocalStack()))
show("pools", lambda: __import__("celery.concurrency").concurrency.get_implementation("solo").__module__)
show("pool unknown", lambda: __import__("celery.concurrency").concurrency.get_implementation("nosuch"))

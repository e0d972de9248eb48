"""`celery worker`: read the options, perhaps go into the background, run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
from click import ParamType

from celery.app.checks import nearest_name
from celery.app.defaults import BY_NAME
from celery.bin.base import (
    COMMA_SEPARATED_LIST,
    LOG_LEVEL,
    CeleryDaemonCommand,
    CeleryOption,
    handle_preload_options,
)
from celery.bin.detach import go_into_background
from celery.platforms import maybe_drop_privileges, parse_gid, parse_uid
from celery.utils.nodenames import default_nodename, host_format, node_format
from celery.utils.sysinfo import AUTO_CONCURRENCY, is_auto_concurrency

if TYPE_CHECKING:
    from collections.abc import Callable

    _Type = ParamType[Any]
    _Choice = click.Choice[str]
else:  # click before 8.2 has no generic types
    _Type = ParamType
    _Choice = click.Choice

WORKER = "Worker Options"
POOL = "Pool Options"
QUEUES = "Queue Options"
FEATURES = "Features"
EMBEDDED_BEAT = "Embedded Beat Options"

#: Pools by name; `custom` is the class that the environment variable below names.
POOLS = ("prefork", "processes", "threads", "asyncio", "solo", "custom")
SECONDS, COUNT = click.FloatRange(min=0), click.IntRange(min=0)
CUSTOM_POOL = "CELERY_CUSTOM_WORKER_POOL"


class Concurrency(_Type):
    """A number of tasks at once, or `auto`."""

    name = "concurrency"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; `auto` stays the word."""
        if is_auto_concurrency(value):
            return AUTO_CONCURRENCY
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = -1
        if number < 0:
            self.fail(f"must be a non-negative integer or 'auto', got {value!r}", param, ctx)
        return number


class PoolName(_Choice):
    """A pool by its name."""

    def __init__(self) -> None:
        super().__init__(POOLS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The name; for `custom` the class path in the environment."""
        found = super().convert(value, param, ctx)
        if found != "custom":
            return found
        path = os.environ.get(CUSTOM_POOL)
        if not path:
            self.fail(f"'custom' needs the class path of the pool in {CUSTOM_POOL}", param, ctx)
        return path


class HostnameType(_Type):
    """A node name; `%h`, `%n` and `%d` are expanded."""

    name = "hostname"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The whole name: `w1@%h` is `w1@host.example.com`."""
        try:
            return host_format(default_nodename(value))
        except ValueError:
            self.fail(_unknown_sign(value, "%h, %n and %d"), param, ctx)


def _unknown_sign(value: str, known: str) -> str:
    return f"unknown % sign in {value!r}: there are {known}; a % itself is written %%"


def _option(*names: str, group: str, **kwargs: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(*names, cls=CeleryOption, help_group=group, **kwargs)


@click.command(cls=CeleryDaemonCommand, context_settings={"allow_extra_args": True})
@_option(
    "-n",
    "--hostname",
    group=WORKER,
    type=HostnameType(),
    default=lambda: default_nodename(None),
    help="Set custom hostname (e.g., 'w1@%h').  Expands: %h (hostname), %n (name) and %d (domain).",
)
@_option("-D", "--detach", group=WORKER, is_flag=True, help="Start worker as a background process.")
@_option(
    "-l",
    "-L",
    "--loglevel",
    "loglevel",
    group=WORKER,
    type=LOG_LEVEL,
    default="WARNING",
    help="Logging level.",
)
@_option(
    "-S",
    "--statedb",
    group=WORKER,
    help="Keep what is revoked in this file, over restarts; '%n.state' gives each worker its own.",
)
@_option(
    "-O",
    "--optimization",
    group=WORKER,
    type=click.Choice(("default", "fair")),
    default="default",
    help="Apply optimization profile. Both are fair: a process gets a task only when it is free.",
)
@_option(
    "-E",
    "--task-events",
    "--events",
    "task_events",
    group=POOL,
    is_flag=True,
    default=None,
    help="Send task-related events that can be captured by monitors like celery events, celerymon, and others.",
)
@_option("--without-gossip", group=WORKER, is_flag=True, help="Do not listen to the events of other workers.")
@_option("--without-heartbeat", group=WORKER, is_flag=True, help="Do not send event heartbeats.")
@_option(
    "--heartbeat-interval",
    group=WORKER,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds between two event heartbeats.  [default: 2]",
)
@_option(
    "--prefetch-multiplier",
    group=WORKER,
    type=COUNT,
    help="Fetch at most this number of messages for each process slot; the number adapts to run times below it.",
)
@_option(
    "--disable-prefetch",
    group=WORKER,
    is_flag=True,
    default=None,
    help="Fetch a task only when a process slot is free.",
)
@_option(
    "--dry-run",
    group=WORKER,
    is_flag=True,
    help="Load the app and its tasks, check broker and result store, print the banner, and exit.",
)
@_option(
    "-c",
    "--concurrency",
    group=POOL,
    type=Concurrency(),
    help="Number of child processes (or threads, ...) processing the queue. The default is the number of CPUs "
    "available on your system. Use 'auto' to size the prefork pool from the cgroup CPU quota and CPU affinity.",
)
@_option("-P", "--pool", group=POOL, type=PoolName(), help="Pool implementation.  [default: prefork]")
@_option(
    "--time-limit",
    group=POOL,
    type=SECONDS,
    help="Enables a hard time limit (in seconds int/float) for tasks.",
)
@_option(
    "--soft-time-limit",
    group=POOL,
    type=SECONDS,
    help="Enables a soft time limit (in seconds int/float) for tasks.",
)
@_option(
    "--max-tasks-per-child",
    group=POOL,
    type=COUNT,
    help="Maximum number of tasks a pool worker can execute before it's terminated and replaced by a new worker.",
)
@_option(
    "--max-memory-per-child",
    group=POOL,
    type=COUNT,
    help="Maximum amount of resident memory, in KiB, that may be consumed by a child process before it will be "
    "replaced by a new one, after the task that exceeded it has completed.  Default: no limit.",
)
@_option(
    "--pool-start-method",
    group=POOL,
    type=click.Choice(("fork", "spawn")),
    help="How prefork children are made: 'fork' shares memory with the worker, 'spawn' starts fresh interpreters.",
)
@_option(
    "--without-mingle",
    group=FEATURES,
    is_flag=True,
    help="Don't ask other workers at startup what is revoked.",
)
@_option("--purge", "--discard", group=QUEUES, is_flag=True, help="Empty the queues before starting.")
@_option(
    "-Q",
    "--queues",
    group=QUEUES,
    type=COMMA_SEPARATED_LIST,
    help="Consume only these queues (comma separated).",
)
@_option(
    "-X",
    "--exclude-queues",
    group=QUEUES,
    type=COMMA_SEPARATED_LIST,
    help="Consume all but these queues (comma separated).",
)
@_option(
    "-I",
    "--include",
    group=QUEUES,
    type=COMMA_SEPARATED_LIST,
    help="Import these modules too (comma separated).",
)
@_option(
    "-B",
    "--beat",
    group=EMBEDDED_BEAT,
    is_flag=True,
    help="Also run the celery beat periodic task scheduler.  Please note that there must only be one instance of "
    "this service.",
)
@_option(
    "-s",
    "--schedule-filename",
    "--schedule",
    "schedule_filename",
    group=EMBEDDED_BEAT,
    help="Path to the schedule database of --beat.  Defaults to `celerybeat-schedule`.",
)
@_option("--scheduler", group=EMBEDDED_BEAT, help="Scheduler class of --beat.")
@click.pass_context
@handle_preload_options
def worker(
    ctx: click.Context,
    hostname: str,
    detach: bool,
    pool: str | None,
    loglevel: int,
    statedb: str | None,
    logfile: str | None,
    pidfile: str | None,
    uid: str | None,
    gid: str | None,
    umask: str | None,
    executable: str | None,
    **kwargs: Any,
) -> None:
    """Start worker instance.

    \b
    Examples
    --------

    \b
    $ celery --app=proj worker -l INFO
    $ celery -A proj worker -l INFO -Q hipri,lopri
    $ celery -A proj worker --concurrency=4
    $ celery -A proj worker -P threads -c 50
    $ celery -A proj worker worker.prefetch_multiplier=1
    """
    app = ctx.obj.app
    _read_settings(ctx, app)
    _check_user(ctx, uid, gid, umask)
    _check_path(ctx, "--logfile", logfile, hostname)
    _check_path(ctx, "--pidfile", pidfile, hostname)
    statedb = statedb or app.conf.worker_state_db
    _check_path(ctx, "--statedb", statedb, hostname)
    if detach:
        ctx.exit(
            go_into_background(
                app,
                hostname,
                logfile=logfile,
                pidfile=pidfile,
                uid=uid,
                gid=gid,
                umask=umask,
                workdir=ctx.obj.workdir,
                executable=executable,
            )
        )
    maybe_drop_privileges(uid=uid, gid=gid)
    program = app.Worker(
        hostname=hostname,
        pool_cls=pool,
        loglevel=loglevel,
        logfile=logfile,
        pidfile=node_format(pidfile, hostname) if pidfile else None,
        statedb=node_format(statedb, hostname) if statedb else None,
        no_color=ctx.obj.no_color or None,
        quiet=ctx.obj.quiet,
        **kwargs,
    )
    program.start()
    ctx.exit(program.exitcode)


def _check_user(ctx: click.Context, uid: Any, gid: Any, umask: Any) -> None:
    try:
        if uid:
            parse_uid(uid)
        if gid:
            parse_gid(gid)
    except KeyError as error:
        raise click.UsageError(error.args[0], ctx) from None
    try:
        int(umask, 8) if isinstance(umask, str) else umask
    except ValueError:
        raise click.UsageError(f"--umask is an octal number like 022, got {umask!r}", ctx) from None


def _check_path(ctx: click.Context, option: str, path: str | None, hostname: str) -> None:
    try:
        node_format(path or "", hostname)
    except ValueError:
        known = "%p, %n, %h, %d, %i and %I"
        raise click.UsageError(f"{option}: {_unknown_sign(str(path), known)}", ctx) from None


def _read_settings(ctx: click.Context, app: Any) -> None:
    """Settings given as `family.key=value` after the options."""
    if not ctx.args:
        return
    for word in ctx.args:
        try:
            app.config_from_cmdline([word], namespace="worker")
        except (KeyError, ValueError, TypeError) as error:
            reason = _why_no_setting(word, error)
            raise click.UsageError(
                f"Unable to parse extra configuration from command line.\nReason: {reason}", ctx=ctx
            ) from None


def _why_no_setting(word: str, error: Exception) -> str:
    name, given, _ = word.partition("=")
    if not given:
        return f"{word!r} is not of the form family.setting=value"
    name = name.lower().replace(".", "_")
    if not isinstance(error, KeyError) or name in BY_NAME:
        return str(error)
    near = nearest_name(name)
    return f"there is no setting {name!r}" + (f"; did you mean {near!r}?" if near else "")

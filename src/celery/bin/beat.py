"""`celery beat`: read the options, perhaps go into the background, send what is due."""

from __future__ import annotations

from typing import Any

import click

from celery.bin.base import LOG_LEVEL, CeleryDaemonCommand, CeleryOption, handle_preload_options
from celery.bin.detach import go_into_background
from celery.platforms import maybe_drop_privileges

BEAT = "Beat Options"


@click.command(cls=CeleryDaemonCommand)
@click.option(
    "--detach",
    cls=CeleryOption,
    is_flag=True,
    default=False,
    help_group=BEAT,
    help="Detach and run in the background as a daemon.",
)
@click.option(
    "-s",
    "--schedule",
    cls=CeleryOption,
    help_group=BEAT,
    help="Path to the schedule database.  Defaults to `celerybeat-schedule`.  The extension '.db' may be appended "
    "to the filename.",
)
@click.option("-S", "--scheduler", cls=CeleryOption, help_group=BEAT, help="Scheduler class to use.")
@click.option(
    "--max-interval",
    cls=CeleryOption,
    type=click.FloatRange(min=0),
    help_group=BEAT,
    help="Max seconds to sleep between schedule iterations.",
)
@click.option(
    "--enable-remote-control/--no-enable-remote-control",
    "remote_control",
    cls=CeleryOption,
    default=None,
    help_group=BEAT,
    help="Answer `celery inspect ping`, so that beat can be health-checked. Overrides the "
    "beat_enable_remote_control setting.",
)
@click.option(
    "-n",
    "--hostname",
    cls=CeleryOption,
    help_group=BEAT,
    help="Node name to answer remote control commands on. Defaults to celerybeat@%h.",
)
@click.option(
    "-l",
    "--loglevel",
    cls=CeleryOption,
    type=LOG_LEVEL,
    default="WARNING",
    help_group=BEAT,
    help="Logging level.",
)
@click.pass_context
@handle_preload_options
def beat(
    ctx: click.Context,
    detach: bool,
    logfile: str | None,
    pidfile: str | None,
    uid: str | None,
    gid: str | None,
    umask: str | None,
    executable: str | None,
    **kwargs: Any,
) -> None:
    """Start the beat periodic task scheduler."""
    app = ctx.obj.app
    if detach:
        files = {"logfile": logfile, "pidfile": pidfile}
        user = {"uid": uid, "gid": gid, "umask": umask}
        ctx.exit(
            go_into_background(
                app, "celerybeat", workdir=ctx.obj.workdir, executable=executable, **files, **user
            )
        )
    maybe_drop_privileges(uid=uid, gid=gid)
    app.Beat(
        logfile=logfile,
        pidfile=pidfile,
        no_color=ctx.obj.no_color or None,
        quiet=ctx.obj.quiet,
        **kwargs,
    ).run()

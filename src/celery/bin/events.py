"""`celery events`: what a cluster says, as lines, as snapshots, or as a table that follows it."""

from __future__ import annotations

from typing import Any

import click

from celery.bin.base import LOG_LEVEL, CeleryDaemonCommand, CeleryOption, handle_preload_options
from celery.bin.detach import go_into_background
from celery.platforms import maybe_drop_privileges
from celery.utils.nodenames import default_nodename

DUMPER, SNAPSHOT = "Dumper", "Snapshot"


@click.command(cls=CeleryDaemonCommand)
@click.option(
    "-d", "--dump", cls=CeleryOption, is_flag=True, help_group=DUMPER, help="Write every event as a line."
)
@click.option(
    "-c", "--camera", cls=CeleryOption, help_group=SNAPSHOT, help="The camera class that takes snapshots."
)
@click.option(
    "--detach", cls=CeleryOption, is_flag=True, help_group=SNAPSHOT, help="Take snapshots in the background."
)
@click.option(
    "-F",
    "--freq",
    "--frequency",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    cls=CeleryOption,
    help_group=SNAPSHOT,
    help="Seconds between two snapshots.  [default: 1]",
)
@click.option(
    "-r",
    "--maxrate",
    cls=CeleryOption,
    help_group=SNAPSHOT,
    help="At most so many snapshots, for example 10/m.",
)
@click.option(
    "-l",
    "--loglevel",
    type=LOG_LEVEL,
    default="INFO",
    cls=CeleryOption,
    help_group=SNAPSHOT,
    help="Logging level.",
)
@click.pass_context
@handle_preload_options
def events(
    ctx: click.Context,
    dump: bool,
    camera: str | None,
    detach: bool,
    freq: float,
    maxrate: str | None,
    loglevel: int,
    logfile: str | None,
    pidfile: str | None,
    uid: str | None,
    gid: str | None,
    umask: str | None,
    executable: str | None,
    **kwargs: Any,
) -> None:
    """Event-stream utilities.

    Without options: a table in the terminal that follows the tasks of the cluster.
    """
    app = ctx.obj.app
    if dump:
        from celery.events.dumper import evdump  # noqa: PLC0415 - one of three

        evdump(app=app)
    elif camera:
        if detach:
            ctx.exit(
                go_into_background(
                    app,
                    default_nodename(None),
                    logfile=logfile,
                    pidfile=pidfile,
                    uid=uid,
                    gid=gid,
                    umask=umask,
                    workdir=ctx.obj.workdir,
                    executable=executable,
                )
            )
        from celery.events.snapshot import evcam  # noqa: PLC0415 - as above

        maybe_drop_privileges(uid=uid, gid=gid)
        evcam(camera, freq, maxrate, loglevel, logfile, pidfile, app=app)
    else:
        from celery.events.cursesmon import evtop  # noqa: PLC0415 - as above

        evtop(app=app)

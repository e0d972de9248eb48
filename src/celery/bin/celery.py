"""`celery`: the global options, finding the application, and the list of commands."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click

from celery import VERSION_BANNER, celeriac_version
from celery.app.finding import NoAppError, find_app, own_celery_file
from celery.app.foreign import refuse_foreign_celery
from celery.bin.base import CeleryCommand, CeleryOption, CLIContext, get_current_app
from celery.bin.beat import beat
from celery.bin.call import call
from celery.bin.control import control, inspect, status
from celery.bin.dlq import dlq
from celery.bin.errors import shown_as_one_line, users_frames
from celery.bin.events import events
from celery.bin.graph import graph
from celery.bin.hoist import hoist_global_options
from celery.bin.list import list_
from celery.bin.purge import purge
from celery.bin.report import report
from celery.bin.result import result
from celery.bin.resume import resume
from celery.bin.shell import shell
from celery.bin.worker import worker
from celery.utils.installed import entry_points

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("celery", "main")

UNABLE_TO_LOAD_APP_MODULE_NOT_FOUND = """
Unable to load celery application.
The module {0} was not found."""
UNABLE_TO_LOAD_APP_ERROR_OCCURRED = """
Unable to load celery application.
While trying to load the module {0} the following error occurred:
{1}"""
UNABLE_TO_LOAD_APP_APP_MISSING = """
Unable to load celery application.
{0}"""
OWN_FILE_NAME = (
    "{0} has the name of this package: it works, but 'import celery' in your other modules means the package. "
    "A name like tasks.py or proj/celery.py is better."
)
PLUGIN_GROUP = "celery.commands"
#: Commands of Celery's that people look for.
NOT_BUILT = frozenset(("amqp", "logtool", "migrate", "multi", "upgrade"))


class CeleryGroup(click.Group):
    """The `celery` command: takes global options after the command too, and commands of other packages."""

    _plugins_loaded = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the global options, wherever they stand."""
        return super().parse_args(ctx, hoist_global_options(self, ctx, args))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, plug-ins too."""
        self.load_plugins()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        found = super().get_command(ctx, cmd_name)
        if found is None:
            # Looking for plug-ins reads the metadata of every installed package.
            self.load_plugins()
            found = super().get_command(ctx, cmd_name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is answered with names like it."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if args[0] in NOT_BUILT:
                raise click.UsageError(
                    f"{error.message} Celery has it, this version of Celeriac does not (yet).", error.ctx
                ) from None
            import difflib  # noqa: PLC0415 - every worker would load it

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 3, 0.5)
            if not near:
                raise
            names = "\n    ".join(near)
            raise click.UsageError(
                f"{error.message}\n\nDid you mean one of these?\n    {names}", error.ctx
            ) from None

    def load_plugins(self) -> None:
        """Add the commands that installed packages offer; a broken one only warns."""
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for entry in entry_points(PLUGIN_GROUP):
            try:
                self.add_command(entry.load(), entry.name)
            except Exception:  # noqa: BLE001 - whatever it is, it must not stop the other commands
                click.echo(
                    f"Warning: the command {entry.name!r} ({entry.value}) could not be loaded:\n"
                    f"{traceback.format_exc()}",
                    err=True,
                )


def _change_folder(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value and not ctx.resilient_parsing:
        try:
            os.chdir(value)
        except OSError as error:
            raise click.BadParameter(f"{value}: {error.strerror}", ctx, param) from None
        sys.path.insert(0, os.getcwd())
    return value


def _show_version() -> None:
    from importlib import metadata  # noqa: PLC0415 - slow to import, and rarely needed

    python = ".".join(map(str, sys.version_info[:3]))
    click.echo(VERSION_BANNER)
    click.echo(f"celeriac {celeriac_version}, kombu {metadata.version('kombu')}, Python {python}")


def _load_app(name: str) -> Any:
    try:
        return find_app(name)
    except NoAppError as error:
        raise click.UsageError(UNABLE_TO_LOAD_APP_APP_MISSING.format(error)) from None
    except ModuleNotFoundError as error:
        if error.name is not None and _is_part_of(error.name, name):
            raise click.UsageError(UNABLE_TO_LOAD_APP_MODULE_NOT_FOUND.format(name)) from None
        raise click.UsageError(_failed_import(name, error)) from None
    except Exception as error:  # noqa: BLE001 - the user's module may raise anything
        raise click.UsageError(_failed_import(name, error)) from None


def _is_part_of(module: str, app: str) -> bool:
    return app == module or app.replace(":", ".").startswith(f"{module}.")


def _failed_import(name: str, error: Exception) -> str:
    text = "".join(traceback.format_exception(type(error), error, users_frames(error)))
    return UNABLE_TO_LOAD_APP_ERROR_OCCURRED.format(name, text)


@click.group(cls=CeleryGroup, invoke_without_command=True, context_settings={"max_content_width": 80})
@click.option("-A", "--app", envvar="APP", cls=CeleryOption, help_group="Global Options")
@click.option("-b", "--broker", envvar="BROKER_URL", cls=CeleryOption, help_group="Global Options")
@click.option("--result-backend", envvar="RESULT_BACKEND", cls=CeleryOption, help_group="Global Options")
@click.option("--loader", envvar="LOADER", cls=CeleryOption, help_group="Global Options")
@click.option("--config", envvar="CONFIG_MODULE", cls=CeleryOption, help_group="Global Options")
@click.option(
    "--workdir",
    metavar="PATH",
    is_eager=True,
    callback=_change_folder,
    cls=CeleryOption,
    help_group="Global Options",
)
@click.option(
    "-C", "--no-color", envvar="NO_COLOR", is_flag=True, cls=CeleryOption, help_group="Global Options"
)
@click.option("-q", "--quiet", is_flag=True, cls=CeleryOption, help_group="Global Options")
@click.option("--version", is_flag=True, cls=CeleryOption, help_group="Global Options")
@click.option(
    "--skip-checks",
    envvar="SKIP_CHECKS",
    is_flag=True,
    cls=CeleryOption,
    help_group="Global Options",
    help="Skip Django core checks on startup. Setting the SKIP_CHECKS environment variable to any "
    "non-empty string will have the same effect.",
)
@click.pass_context
def celery(
    ctx: click.Context,
    app: Any,
    broker: str | None,
    result_backend: str | None,
    loader: str | None,
    config: str | None,
    workdir: str | None,
    no_color: bool,
    quiet: bool,
    version: bool,
    skip_checks: bool,
) -> None:
    """Celery command entrypoint."""
    if version:
        _show_version()
        ctx.exit()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit()
    _tell_environment(loader, broker, result_backend, config, skip_checks)
    if isinstance(app, str):
        app = _find(app)
    elif app is None:
        app = ctx.obj  # the one that `app.start()` was called on
    ctx.obj = CLIContext(
        app=app if app is not None else get_current_app(), no_color=no_color, workdir=workdir, quiet=quiet
    )
    _add_user_options(ctx)


def _tell_environment(
    loader: str | None, broker: str | None, result_backend: str | None, config: str | None, skip_checks: bool
) -> None:
    given = {
        "CELERY_LOADER": loader,
        "CELERY_BROKER_URL": broker,
        "CELERY_RESULT_BACKEND": result_backend,
        "CELERY_CONFIG_MODULE": config,
        "CELERY_SKIP_CHECKS": "true" if skip_checks else None,
    }
    os.environ.update({name: value for name, value in given.items() if value})


def _find(name: str) -> Any:
    app = _load_app(name)
    own = own_celery_file(name)
    if own is not None:
        click.echo(OWN_FILE_NAME.format(os.path.basename(own)), err=True)
    return app


def _add_user_options(ctx: click.Context) -> None:
    """Give the commands the options that the application has for them."""
    app, group = ctx.obj.app, ctx.command
    if not isinstance(group, click.Group):
        return
    for name, command in group.commands.items():
        for option in (*app.user_options["preload"], *app.user_options.get(name, ())):
            if option not in command.params:
                command.params.append(option)


@celery.command(name="help", cls=CeleryCommand)
@click.argument("command", nargs=-1)
@click.pass_context
def help_(ctx: click.Context, command: tuple[str, ...]) -> None:
    """Show the help of a command, or the list of commands."""
    context = ctx.find_root()
    for name in command:
        group = context.command
        found = group.get_command(context, name) if isinstance(group, click.Group) else None
        if found is None:
            raise click.UsageError(f"No such command {name!r}.", context)
        context = click.Context(found, info_name=name, parent=context)
    click.echo(context.get_help())


for _command in (
    beat,
    call,
    control,
    dlq,
    events,
    graph,
    inspect,
    list_,
    purge,
    report,
    result,
    resume,
    shell,
    status,
    worker,
):
    celery.add_command(_command)


def main(argv: Sequence[str] | None = None, app: Any = None) -> int:
    """Run the `celery` command.

    Args:
        argv: arguments after the program's name; None: the process's.
        app: the application used when `-A` is not given.

    Returns:
        Never: it ends with SystemExit, whose code is the command's.
    """
    refuse_foreign_celery()
    with shown_as_one_line():
        celery.main(
            args=None if argv is None else list(argv),
            prog_name="celery",
            auto_envvar_prefix="CELERY",
            obj=app,
        )
    return 0

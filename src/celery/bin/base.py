"""What commands are made of: option classes, types, what a command prints with, and preload options."""

from __future__ import annotations

import json
from collections import OrderedDict
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click import Context, ParamType

from celery import signals
from celery._state import get_current_app as _get_current_app
from celery.exceptions import CeleryCommandException, OperationalError
from celery.platforms import EX_UNAVAILABLE
from celery.utils import text
from celery.utils.log import mlevel
from celery.utils.time import maybe_iso8601

if TYPE_CHECKING:
    from collections.abc import Callable

    _Type = ParamType[Any]
    _Choice = click.Choice[str]
else:  # click before 8.2 has no generic types
    _Type = ParamType
    _Choice = click.Choice

__all__ = (
    "COMMA_SEPARATED_LIST",
    "EX_UNAVAILABLE",
    "ISO8601",
    "ISO8601_OR_FLOAT",
    "JSON_ARRAY",
    "JSON_OBJECT",
    "LOG_LEVEL",
    "CLIContext",
    "CeleryCommand",
    "CeleryCommandException",
    "CeleryDaemonCommand",
    "CeleryOption",
    "CommaSeparatedList",
    "DaemonOption",
    "ISO8601DateTime",
    "ISO8601DateTimeOrFloat",
    "JsonArray",
    "JsonObject",
    "LogLevel",
    "OperationalError",
    "consume_preload_options",
    "get_current_app",
    "handle_preload_options",
    "handle_remote_command_error",
)

#: Sent with the options in `app.user_options["preload"]`, before the command runs.
user_preload_options = signals.user_preload_options


def get_current_app() -> Any:
    """The application that commands use when `-A` is not given."""
    return _get_current_app()


def handle_remote_command_error(command: str, exc: Exception) -> NoReturn:
    """Turn what went wrong with a remote command into the command line's error, exit code 69.

    Raises:
        CeleryCommandException: always.
    """
    if isinstance(exc, OperationalError):
        message = (
            "Could not connect to the message broker. Please make sure your broker (e.g., RabbitMQ or Redis) "
            f"is running and the connection settings are correct. Reason: {exc}"
        )
    else:
        message = f"Unable to run the `{command}` command. Reason: {exc}"
    raise CeleryCommandException(message=message, exit_code=EX_UNAVAILABLE) from exc


class CLIContext:
    """What the global options said, and how to print: `ctx.obj` of every command.

    Attributes:
        app: the application.
        no_color, workdir, quiet: as given.
    """

    def __init__(self, app: Any, no_color: bool, workdir: str | None, quiet: bool = False) -> None:
        self.app = app
        self.no_color = no_color
        self.quiet = quiet
        self.workdir = workdir

    @property
    def OK(self) -> str:  # noqa: N802, RUF100 - the public name
        """`OK`, green."""
        return self.style("OK", fg="green", bold=True)

    @property
    def ERROR(self) -> str:  # noqa: N802, RUF100 - the public name
        """`ERROR`, red."""
        return self.style("ERROR", fg="red", bold=True)

    def style(self, message: Any = None, **kwargs: Any) -> str:
        """`message` coloured, unless colours are off."""
        return str(message) if self.no_color else click.style(message, **kwargs)

    def secho(self, message: Any = None, **kwargs: Any) -> None:
        """Print, coloured unless colours are off."""
        if self.no_color:
            kwargs["color"] = False
        click.secho(message, **kwargs)

    def echo(self, message: Any = None, **kwargs: Any) -> None:
        """Print."""
        if self.no_color:
            kwargs["color"] = False
        click.echo(message, **kwargs)

    def error(self, message: Any = None, **kwargs: Any) -> None:
        """Print to stderr."""
        kwargs["err"] = True
        self.echo(message, **kwargs)

    def pretty(self, n: Any) -> tuple[str, str]:
        """A remote command's answer as `(OK or ERROR, text)`."""
        if isinstance(n, list):
            return self.OK, self.pretty_list(n)
        if isinstance(n, dict) and ("ok" in n or "error" in n):
            return self.pretty_dict_ok_error(n)
        from pprint import pformat  # noqa: PLC0415 - every worker would load it

        return self.OK, n if isinstance(n, str) else json.dumps(n, sort_keys=True, indent=4, default=pformat)

    def pretty_list(self, n: list[Any]) -> str:
        """A list as lines."""
        if not n:
            return "- empty -"
        return "\n".join(f"{self.style('*', fg='white')} {item}" for item in n)

    def pretty_dict_ok_error(self, n: dict[str, Any]) -> tuple[str, str]:
        """`{'ok': ...}` or `{'error': ...}` as `(OK or ERROR, text)`."""
        mark, value = (self.OK, n["ok"]) if "ok" in n else (self.ERROR, n["error"])
        return mark, text.indent(self.pretty(value)[1], 4)

    def say_chat(self, direction: str, title: str, body: str = "", show_body: bool = False) -> None:
        """Print one side of a dialogue with workers."""
        if direction == "<-" and self.quiet:
            return
        mark = "" if self.quiet else f"{self.style(direction, fg='white', bold=True)} "
        self.echo(f"{mark} {title}")
        if body and show_body:
            self.echo(body)


def handle_preload_options(f: Callable[..., Any]) -> Callable[..., Any]:
    """Send the application's preload options by signal before the command runs, and keep them from it."""

    def caller(ctx: Context, *args: Any, **kwargs: Any) -> Any:
        app = ctx.obj.app
        names = [option.name for option in app.user_options["preload"]]
        if names:
            given = {name: kwargs.pop(name) for name in names if name in kwargs}
            user_preload_options.send(sender=f, app=app, options=given)
        return f(ctx, *args, **kwargs)

    return update_wrapper(caller, f)


def consume_preload_options(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the application's preload options from a command that does not know them."""

    def caller(ctx: Context, *args: Any, **kwargs: Any) -> Any:
        obj = ctx.obj
        for option in obj.app.user_options["preload"] if obj is not None else ():
            kwargs.pop(option.name, None)
        return fun(ctx, *args, **kwargs)

    return update_wrapper(caller, fun)


class CeleryOption(click.Option):
    """An option that belongs to a group in the help text.

    Args:
        help_group: heading under which the help shows it.
        default_value_from_context: name of an attribute of `ctx.obj` that is the default.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.help_group: str | None = kwargs.pop("help_group", None)
        self.default_value_from_context: str | None = kwargs.pop("default_value_from_context", None)
        super().__init__(*args, **kwargs)

    def get_default(self, ctx: Context, *args: Any, **kwargs: Any) -> Any:
        """The default: from the context, or what click says."""
        if self.default_value_from_context and ctx.obj is not None:
            self.default = getattr(ctx.obj, self.default_value_from_context)
        return super().get_default(ctx, *args, **kwargs)


#: Options of Celery's worker that old command lines have.
NOT_BUILT = frozenset(("--autoscale",))


class CeleryCommand(click.Command):
    """A command whose help shows options in their groups."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Read the options; one of Celery's that is not there is not answered with names like it."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name not in NOT_BUILT:
                raise
            raise click.UsageError(
                f"No such option {error.option_name!r}. Celery has it, this version of Celeriac does not (yet).",
                ctx,
            ) from None

    def format_options(self, ctx: Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        groups: OrderedDict[str, list[tuple[str, str]]] = OrderedDict()
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                heading = getattr(param, "help_group", None) or "Options"
                groups.setdefault(heading, []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class DaemonOption(CeleryOption):
    """An option of daemons: its default is the setting `COMMAND_OPTION`, as `worker_logfile`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("help_group", "Daemonization Options")
        kwargs.setdefault("callback", self.daemon_setting)
        super().__init__(*args, **kwargs)

    def daemon_setting(self, ctx: Context, opt: click.Parameter, value: Any) -> Any:
        """The value given, or that of the setting."""
        if value or ctx.obj is None:
            return value
        return ctx.obj.app.conf.get(f"{ctx.command.name}_{self.name}")


class CeleryDaemonCommand(CeleryCommand):
    """A command that can run in the background."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(
            (
                DaemonOption(["--logfile", "-f"], help="Log destination; defaults to stderr"),
                DaemonOption(["--pidfile"], help="PID file path; defaults to no PID file"),
                DaemonOption(["--uid"], help="Drops privileges to this user ID"),
                DaemonOption(["--gid"], help="Drops privileges to this group ID"),
                DaemonOption(["--umask"], help="Create files and directories with this umask"),
                DaemonOption(["--executable"], help="Override path to the Python executable"),
            )
        )


class CommaSeparatedList(_Type):
    """`a,b,c`."""

    name = "comma separated list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> Any:
        """Split at the commas."""
        return value.split(",") if isinstance(value, str) else list(value)


class JsonArray(_Type):
    """A list, as JSON."""

    name = "json array"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> Any:
        """Read the list."""
        return _read_json(self, value, list, "array", param, ctx)


class JsonObject(_Type):
    """A dict, as JSON."""

    name = "json object"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> Any:
        """Read the dict."""
        return _read_json(self, value, dict, "object", param, ctx)


def _read_json(
    kind: _Type, value: Any, cls: type, name: str, param: click.Parameter | None, ctx: Context | None
) -> Any:
    if isinstance(value, cls):
        return value
    try:
        found = json.loads(value)
    except ValueError as error:
        kind.fail(str(error), param, ctx)
    if not isinstance(found, cls):
        kind.fail(f"{value} was not an {name}", param, ctx)
    return found


class ISO8601DateTime(_Type):
    """A date and time, as ISO 8601."""

    name = "iso-86091"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> Any:
        """Read the time."""
        try:
            return maybe_iso8601(value)
        except (TypeError, ValueError) as error:
            self.fail(str(error), param, ctx)


class ISO8601DateTimeOrFloat(_Type):
    """A date and time, as ISO 8601, or a number of seconds."""

    name = "iso-86091 or float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> Any:
        """Read the number, or the time."""
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
        try:
            return maybe_iso8601(value)
        except (TypeError, ValueError) as error:
            self.fail(str(error), param, ctx)


class LogLevel(_Choice):
    """A log level by its name in any case, or by number."""

    def __init__(self) -> None:
        super().__init__(("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL"))

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> Any:
        """The level's number."""
        if isinstance(value, int):
            return value
        if value.isdigit():
            return int(value)
        return mlevel(super().convert(value.upper(), param, ctx))


JSON_ARRAY = JsonArray()
JSON_OBJECT = JsonObject()
ISO8601 = ISO8601DateTime()
ISO8601_OR_FLOAT = ISO8601DateTimeOrFloat()
LOG_LEVEL = LogLevel()
COMMA_SEPARATED_LIST = CommaSeparatedList()

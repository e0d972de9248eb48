"""`celery inspect`, `celery control` and `celery status`: asking and telling workers."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from celery.bin.base import COMMA_SEPARATED_LIST, CeleryCommand, CeleryOption, handle_preload_options
from celery.exceptions import CeleryCommandException
from celery.platforms import EX_UNAVAILABLE
from celery.utils import text

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.worker.panel import controller_info_t

GROUP = "Remote Control Options"
NOBODY = "No nodes replied within time constraint"
#: Counts that `inspect` without a command shows.
SUMMARY = ("active", "reserved", "scheduled")


def _remote_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option(
            "-t",
            "--timeout",
            cls=CeleryOption,
            type=float,
            default=1.0,
            help_group=GROUP,
            help="Timeout in seconds waiting for reply.",
        ),
        click.option(
            "-d",
            "--destination",
            cls=CeleryOption,
            type=COMMA_SEPARATED_LIST,
            help_group=GROUP,
            help="Comma separated list of destination node names.",
        ),
        click.option(
            "-j", "--json", "as_json", cls=CeleryOption, is_flag=True, help_group=GROUP,
            help="Use json as output format.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _commands(kind: str) -> dict[str, controller_info_t]:
    """The commands of a kind, by name, those of the app's own modules too."""
    from celery.worker.control import Panel  # noqa: PLC0415 - every worker would load it

    return {name: info for name, info in sorted(Panel.meta.items()) if info.type == kind and info.visible}


def _find(ctx: click.Context, kind: str, name: str) -> controller_info_t:
    found = _commands(kind).get(name)
    if found is None:
        ctx.obj.app.loader.import_default_modules()  # it may be one of the user's
        found = _commands(kind).get(name)
    if found is None:
        known = ", ".join(_commands(kind))
        raise click.UsageError(f"Command {name} not recognized. Available {kind} commands: {known}", ctx)
    return found


def _list_commands(kind: str, ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Print the commands, and exit."""
    if not value or ctx.resilient_parsing:
        return
    ctx.obj.app.loader.import_default_modules()
    formatter = click.HelpFormatter()
    with formatter.section(f"{kind.capitalize()} Commands"):
        formatter.write_dl(
            [
                (f"{name} {info.signature}" if info.signature else name, info.help or "")
                for name, info in _commands(kind).items()
            ]
        )
    ctx.obj.echo(formatter.getvalue(), nl=False)
    ctx.exit()


def _list_option(kind: str) -> Callable[[Any], Any]:
    return click.option(
        "--list",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        help=f"List available {kind} commands and exit.",
        callback=partial(_list_commands, kind),
    )


def _arguments(ctx: click.Context, name: str, info: controller_info_t, words: list[str]) -> dict[str, Any]:
    """The words of the command line as arguments of a command.

    Raises:
        click.UsageError: there are too few, too many, or one is of another type.
    """
    wrong = click.UsageError(f"Command {name!r} takes arguments: {info.signature}", ctx)
    named = list(info.args or ())
    if info.variadic:
        named = [pair for pair in named if pair[0] != info.variadic]
    elif len(words) > len(named):
        raise wrong if info.signature else click.UsageError(f"Command {name!r} takes no arguments.", ctx)
    if len(words) < (info.signature or "").split("[")[0].count("<"):
        raise wrong
    found: dict[str, Any] = {}
    for (argument, kind), word in zip(named, words, strict=False):
        try:
            found[argument] = _converted(kind, word)
        except ValueError as error:
            raise click.UsageError(f"Command {name!r}: argument {argument}: {error}", ctx) from None
    if info.variadic:
        found[info.variadic] = words[len(named) :]
    return found


def _converted(kind: Any, word: str) -> Any:
    if kind == "bool":
        return word.partition("=")[2].lower() in ("1", "true", "yes", "on") or word.lower() in (
            "1",
            "true",
            "yes",
            "on",
        )
    return word if kind is None or isinstance(kind, str) else kind(word)


def _say_reply(ctx: click.Context, reply: dict[str, Any], *, show_body: bool = True) -> None:
    for node, value in reply.items():
        state, body = ctx.obj.pretty(value)
        ctx.obj.say_chat("->", f"{node}: {state}", text.indent(body, 4) if body else "", show_body=show_body)


def _fail() -> CeleryCommandException:
    return CeleryCommandException(message=NOBODY, exit_code=EX_UNAVAILABLE)


def _count(ctx: click.Context, replies: dict[str, Any]) -> None:
    number = len(replies)
    ctx.obj.echo(f"\n{number} {text.pluralize(number, 'node')} online.")


@click.command(cls=CeleryCommand)
@_remote_options
@click.pass_context
@handle_preload_options
def status(ctx: click.Context, timeout: float, destination: list[str] | None, as_json: bool) -> None:
    """Show list of workers that are online."""
    callback = None if as_json else partial(_say_reply, ctx, show_body=False)
    replies = ctx.obj.app.control.inspect(timeout=timeout, destination=destination, callback=callback).ping()
    if not replies:
        raise _fail()
    if as_json:
        ctx.obj.echo(json.dumps(replies))
    _count(ctx, replies)


@click.command(cls=CeleryCommand, context_settings={"allow_extra_args": True})
@click.argument("command", required=False)
@_remote_options
@_list_option("inspect")
@click.pass_context
@handle_preload_options
def inspect(
    ctx: click.Context, command: str | None, timeout: float, destination: list[str] | None, as_json: bool
) -> None:
    """Inspect the workers by sending them the COMMAND inspect command.

    Without COMMAND: who is there and what they have to do. Works on Redis, RabbitMQ and the embedded store.
    """
    if command is None:
        _summarise(ctx, timeout, destination)
        return
    info = _find(ctx, "inspect", command)
    arguments = _arguments(ctx, command, info, ctx.args)
    asking = ctx.obj.app.control.inspect(
        timeout=max(timeout, info.default_timeout),
        destination=destination,
        callback=None if as_json else partial(_say_reply, ctx),
    )
    replies = asking.call(command, **arguments)
    if not replies:
        raise _fail()
    if as_json:
        ctx.obj.echo(json.dumps(replies))
    elif not ctx.obj.quiet:
        _count(ctx, replies)


def _summarise(ctx: click.Context, timeout: float, destination: list[str] | None) -> None:
    """Who is there, with how much to do; and what can be asked."""
    asking = ctx.obj.app.control.inspect(timeout=timeout, destination=destination)
    queues = asking.active_queues()
    if not queues:
        raise _fail()
    asking.limit = len(queues)
    counts = {name: asking.call(name, safe=True) or {} for name in SUMMARY}
    for node in sorted(queues):
        told = ", ".join(f"{len(counts[name].get(node) or ())} {name}" for name in SUMMARY)
        names = ", ".join(queue["name"] for queue in queues[node]) or "no queues"
        ctx.obj.say_chat("->", f"{node}: {told}; queues: {names}")
    _count(ctx, queues)
    ctx.obj.echo(f"\nCommands: {', '.join(_commands('inspect'))}")


@click.command(cls=CeleryCommand, context_settings={"allow_extra_args": True})
@click.argument("command")
@_remote_options
@_list_option("control")
@click.pass_context
@handle_preload_options
def control(
    ctx: click.Context, command: str, timeout: float, destination: list[str] | None, as_json: bool
) -> None:
    """Send the COMMAND control command to the workers.

    Works on Redis, RabbitMQ and the embedded store.
    """
    info = _find(ctx, "control", command)
    replies = ctx.obj.app.control.broadcast(
        command,
        timeout=max(timeout, info.default_timeout),
        destination=destination,
        callback=None if as_json else partial(_say_reply, ctx),
        reply=True,
        arguments=_arguments(ctx, command, info, ctx.args),
    )
    if not replies:
        raise _fail()
    if as_json:
        ctx.obj.echo(json.dumps(replies))

"""Global options after the command: `celery worker -A proj` is `celery -A proj worker`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What may stand after the command too.
_ANYWHERE = frozenset(("app", "broker", "result_backend", "loader", "config", "workdir", "no_color", "quiet"))


def hoist_global_options(group: click.Group, ctx: click.Context, args: list[str]) -> list[str]:
    """Move global options that stand after the command before it.

    An option that the command itself has stays where it is, as does everything after `--` and every value
    of another option.
    """
    ours = _takes_value(param for param in group.params if param.name in _ANYWHERE)
    at = _position_of_command(args, _takes_value(group.params))
    if at is None:
        return args
    command = group.get_command(ctx, args[at])
    if command is None:
        return args
    theirs = _takes_value(command.params)
    moved: list[str] = []
    kept: list[str] = []
    rest = iter(args[at + 1 :])
    for word in rest:
        if word == "--":
            kept += [word, *rest]
            break
        name = _option_of(word, theirs)
        mine = None if name else _option_of(word, ours)
        target, known = (moved, ours) if mine else (kept, theirs)
        target.append(word)
        found = mine or name
        if found and word == found and known[found]:
            target += _next(rest)
    return [*args[:at], *moved, args[at], *kept]


def _next(words: Iterable[str]) -> list[str]:
    for word in words:
        return [word]
    return []


def _takes_value(params: Iterable[click.Parameter]) -> dict[str, bool]:
    """The options of a command: each spelling, and whether a value follows it."""
    return {
        spelling: not (param.is_flag or param.count)
        for param in params
        if isinstance(param, click.Option)
        for spelling in (*param.opts, *param.secondary_opts)
    }


def _option_of(word: str, options: dict[str, bool]) -> str | None:
    """The option that `word` is or begins with: `-A`, `-Aproj`, `--app`, `--app=proj`."""
    if word in options:
        return word
    if word.startswith("--"):
        name = word.partition("=")[0]
        return name if name in options else None
    if len(word) > 2 and word.startswith("-") and options.get(word[:2]):
        return word[:2]
    return None


def _position_of_command(args: list[str], options: dict[str, bool]) -> int | None:
    skip = False
    for at, word in enumerate(args):
        if skip:
            skip = False
        elif word == "--":
            return None
        elif word.startswith("-") and len(word) > 1:
            skip = bool(options.get(word))
        else:
            return at
    return None

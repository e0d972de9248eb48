"""`celery shell`: a Python prompt with the application and its tasks at hand."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click

import celery
from celery.bin.base import CeleryCommand, CeleryOption, handle_preload_options

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP = "Shell Options"
#: Names of the package that are there in the shell, those of them that exist.
_NAMES = ("Task", "chord", "group", "chain", "chunks", "xmap", "xstarmap", "subtask", "signature")


def _flag(*names: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(*names, is_flag=True, cls=CeleryOption, help_group=GROUP, help=text)


@click.command(cls=CeleryCommand)
@_flag("-I", "--ipython", text="Force IPython.")
@_flag("-B", "--bpython", text="Force bpython.")
@_flag("--python", text="Force default Python shell.")
@_flag("-T", "--without-tasks", text="Don't add tasks to locals.")
@click.pass_context
@handle_preload_options
def shell(ctx: click.Context, ipython: bool, bpython: bool, python: bool, without_tasks: bool) -> None:
    """Start shell session with convenient access to celery symbols.

    The following symbols will be added to the main globals: celery, app, and the tasks by their short
    names, unless --without-tasks is given.
    """
    sys.path.insert(0, os.getcwd())
    app = ctx.obj.app
    app.loader.import_default_modules()
    names = _names(app, with_tasks=not without_tasks)
    wanted = [name for name, on in (("ipython", ipython), ("bpython", bpython), ("python", python)) if on]
    for name in wanted or ("ipython", "bpython", "python"):
        run = _SHELLS[name]()
        if run is not None:
            run(names)
            return
    raise click.UsageError(f"{wanted[0]} is not installed.")


def _names(app: Any, *, with_tasks: bool) -> dict[str, Any]:
    names: dict[str, Any] = {"app": app, "celery": app}
    names |= {name: found for name in _NAMES if (found := getattr(celery, name, None)) is not None}
    if with_tasks:
        names |= {
            task.name.rpartition(".")[2]: task
            for name, task in app.tasks.items()
            if not name.startswith("celery.")
        }
    return names


def _ipython() -> Callable[[dict[str, Any]], None] | None:
    try:
        module = importlib.import_module("IPython")
    except ImportError:
        return None
    return lambda names: module.start_ipython(argv=[], user_ns=names)


def _bpython() -> Callable[[dict[str, Any]], None] | None:
    try:
        module = importlib.import_module("bpython")
    except ImportError:
        return None
    return lambda names: module.embed(names)


def _python() -> Callable[[dict[str, Any]], None]:
    def run(names: dict[str, Any]) -> None:
        try:
            readline = importlib.import_module("readline")
            completer = importlib.import_module("rlcompleter").Completer(names)
            readline.set_completer(completer.complete)
            readline.parse_and_bind("tab:complete")
        except ImportError:
            pass  # no line editing here: the prompt works without
        import code  # noqa: PLC0415 - every worker would load it

        code.interact(local=names)

    return run


_SHELLS: dict[str, Callable[[], Callable[[dict[str, Any]], None] | None]] = {
    "ipython": _ipython,
    "bpython": _bpython,
    "python": _python,
}

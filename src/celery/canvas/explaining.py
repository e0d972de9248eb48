"""What a workflow will do, for people: one line a task, in the order in which they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.utils.functional import maybe_list

from .algebra import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Options that are told beside a task.
_TOLD = ("queue", "countdown", "eta", "expires", "priority")


def explained(sig: Any) -> Iterator[str]:
    """The lines about a workflow that is settled."""
    kind = kind_of(sig)
    if kind == "chain":
        yield f"one after another ({len(sig.tasks)} steps)"
        for at, step in enumerate(sig.tasks, 1):
            yield from _under(f"{at}. ", step)
    elif kind == "group":
        tasks = list(sig.tasks)
        yield f"side by side ({len(tasks)})"
        for task in tasks:
            yield from _under("- ", task)
    elif kind == "chord":
        tasks = list(getattr(sig.tasks, "tasks", sig.tasks))
        yield f"side by side ({len(tasks)}), then, with the list of their values:"
        for task in tasks:
            yield from _under("- ", task)
        if sig.body is not None:
            yield from _under("= ", sig.body)
    else:
        told = "".join(f", {key}={sig.options[key]!r}" for key in _TOLD if sig.options.get(key) is not None)
        yield f"{sig!r}{', takes no value' if sig.immutable else ''}{told}"
    for option, word in (("link", "then"), ("link_error", "if it fails")):
        for linked in maybe_list(sig.options.get(option)) or ():
            yield f"   {word}: {linked!r}"


def _under(mark: str, sig: Any) -> Iterator[str]:
    blank = " " * len(mark)
    for at, line in enumerate(explained(sig)):
        yield (blank if at else mark) + line

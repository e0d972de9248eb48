"""Stamps: headers that a visitor puts on every signature of a workflow.

The names of stamps are in the option `stamped_headers`, their values are options of those names. A workflow is
visited from the outside in: its start hook, its links, its members, its end hook.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import TYPE_CHECKING, Any

from celery.utils.functional import maybe_list, regen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NAMES = "stamped_headers"


class StampingVisitor(metaclass=ABCMeta):
    """Base of visitors: each method returns the stamps to add, as a mapping.

    With a key `stamped_headers` only the names listed there are stamps, and the rest are plain headers of
    the message; without it all are.
    """

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Stamps of one signature; `headers` are those of the workflows around it."""

    def on_group_start(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Before the members of a group; what is returned goes to all of them."""
        return {}

    def on_group_end(self, sig: Any, **headers: Any) -> None:  # noqa: B027 - need not be overridden
        """After the members of a group."""

    def on_chain_start(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Before the steps of a chain; what is returned goes to all of them."""
        return {}

    def on_chain_end(self, sig: Any, **headers: Any) -> None:  # noqa: B027 - need not be overridden
        """After the steps of a chain."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Before the header of a chord (`sig` is the chord, its `tasks` the header, a group)."""
        return self.on_group_start(sig.tasks, **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """After the header of a chord."""
        self.on_group_end(sig.tasks, **header)

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Before the body of a chord (`sig` is the chord)."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
        """Before a callback, which is then a signature of its own."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> dict[str, Any]:
        """Before an errback, which is then a signature of its own."""
        return {}


def joined(headers: Mapping[str, Any], more: Mapping[str, Any] | None) -> dict[str, Any]:
    """Headers with more of them; the names of stamps add up."""
    more = dict(more or {})
    names = {*_names_of(headers), *_names_of(more)}
    return {**headers, **more, _NAMES: sorted(names)}


def _names_of(headers: Mapping[str, Any]) -> Any:
    """Which of them are stamps: those that it says, or all."""
    return headers[_NAMES] if headers.get(_NAMES) is not None else [key for key in headers if key != _NAMES]


def put(sig: Any, headers: Mapping[str, Any], visited: bool, *, append: bool) -> None:
    """Make stamps of `headers` on one signature."""
    names = _names_of(headers)
    values = {key: value for key, value in headers.items() if key != _NAMES}
    if not values and not names:
        return
    options = sig.options
    known = list(options.get(_NAMES) or ())
    for name, value in values.items():
        if append and name in known and name in options:
            value = _appended(options[name], value)
        options[name] = value
    stamps = [name for name in names if name in values or name in options]
    options[_NAMES] = list(dict.fromkeys((*known, *stamps)))


def each(tasks: Any, visitor: StampingVisitor | None, append: bool, headers: Mapping[str, Any]) -> Any:
    """Stamp members, and return them. Those that are not made yet are stamped when they are."""

    def stamped(task: Any) -> Any:
        task.stamp(visitor, append, **headers)
        return task

    if type(tasks).__name__ == "_regen":
        return regen(map(stamped, tasks))
    for task in tasks:
        stamped(task)
    return tasks


def _appended(before: Any, value: Any) -> list[Any]:
    """What was stamped last comes first, as in Celery."""
    several = (list, tuple, set)
    new = list(value) if isinstance(value, several) else [value]
    return new + (list(before) if isinstance(before, several) else [before])


def stamp_links(
    sig: Any,
    visitor: StampingVisitor | None,
    append: bool,
    headers: dict[str, Any],
    as_signature: Callable[..., Any],
) -> None:
    """Stamp what is linked to a signature."""
    for option, hook in (("link", "on_callback"), ("link_error", "on_errback")):
        linked = maybe_list(sig.options.get(option)) or []
        if not linked:
            continue
        sig.options[option] = stamped = [as_signature(one, app=sig._app) for one in linked]
        for one in stamped:
            given = headers if visitor is None else joined(headers, getattr(visitor, hook)(one, **headers))
            one.stamp(visitor, append, **given)

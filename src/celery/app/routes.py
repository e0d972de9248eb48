"""Where a call goes: `task_routes`, the task's own options, the default queue.

A router is a mapping (task name, glob or regular expression to a queue name or options), a function
`(name, args, kwargs, options, task=None, **kw)`, an object with `route_for_task`, or the dotted name of one of
these. The first that answers decides; what the caller said explicitly wins over it, key by key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from typing import TYPE_CHECKING, Any

from celery.exceptions import ImproperlyConfigured, QueueNotFound
from celery.utils.imports import symbol_by_name

if TYPE_CHECKING:
    from celery.app.base import Celery

__all__ = ("MapRoute", "Router", "expand_router_string", "prepare")

Route = Mapping[str, Any] | str | None


class MapRoute:
    """Routes by task name.

    Args:
        map: names, globs (with a `*`) and compiled patterns to routes, or pairs of these. Exact names are
            looked up first, then the others are tried in their order.
    """

    def __init__(self, map: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> None:  # noqa: A002 - public name
        pairs = map.items() if isinstance(map, Mapping) else map
        self.map: dict[str, Any] = {}
        self.patterns: dict[re.Pattern[str], Any] = {}
        for name, route in _checked(pairs):
            if isinstance(name, re.Pattern):
                self.patterns[name] = route
            elif "*" in name:
                self.patterns[re.compile(translate(name))] = route
            else:
                self.map[name] = route

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """The options for task `name`, or None."""
        if name in self.map:
            return _as_options(self.map[name])
        for pattern, route in self.patterns.items():
            if pattern.match(name):
                return _as_options(route)
        return None


def _checked(pairs: Iterable[Any]) -> Iterable[tuple[Any, Any]]:
    for pair in pairs:
        if not (
            isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], (str, re.Pattern))
        ):
            raise ImproperlyConfigured(
                f"task_routes: {pair!r} is not a pair of a task's name (or a pattern) and a route"
            )
        name, route = pair
        if isinstance(route, (bool, int, float, list, tuple, set)):
            raise ImproperlyConfigured(
                f"task_routes: the route of {name!r} must be a queue or a mapping of options, not {route!r}"
            )
        yield name, route


def _as_options(route: Any) -> dict[str, Any]:
    return dict(route) if isinstance(route, Mapping) else {"queue": route}


def expand_router_string(router: Any) -> Any:
    """The router that a dotted name names: a class is instantiated if it has `route_for_task`.

    Raises:
        ImportError, AttributeError: there is none of that name.
    """
    found = symbol_by_name(router)
    return found() if isinstance(found, type) and hasattr(found, "route_for_task") else found


def _expand(router: Any) -> Any:
    if isinstance(router, str):
        return expand_router_string(router)
    if isinstance(router, (Mapping, list, tuple)):
        return MapRoute(router)
    if not (callable(router) or hasattr(router, "route_for_task")):
        raise ImproperlyConfigured(
            "task_routes must be a mapping of task names to routes, a function, a router, the dotted name of one, "
            f"or a list of these, not {router!r}"
        )
    return router


def prepare(routes: Any) -> list[Any]:
    """`task_routes`, in any of its forms, as a list of routers.

    Raises:
        ImproperlyConfigured: something in it is no router.
    """
    if routes is None:
        return []
    if not isinstance(routes, (list, tuple)):
        routes = (routes,)
    return [_expand(router) for router in routes]


class Router:
    """Decides where calls of one app go.

    Args:
        routes: prepared routers.
        queues: by name; unknown names make new ones if it says so (see `celery.app.amqp.Queues`).
        create_missing: kept for those who read it; `queues` decides.
        app: whose default queue is meant where nobody says anything.
    """

    def __init__(
        self,
        routes: list[Any] | None = None,
        queues: Mapping[str, Any] | None = None,
        create_missing: bool = False,
        app: Celery | None = None,
    ) -> None:
        self.app = app
        self.queues: Mapping[str, Any] = {} if queues is None else queues
        self.routes = [] if routes is None else routes
        self.create_missing = create_missing

    @property
    def static(self) -> bool:
        """True if the answer depends on the task's name and the call's options alone."""
        return all(type(router) is MapRoute for router in self.routes)

    def route(
        self,
        options: Mapping[str, Any],
        name: str,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        task_type: Any = None,
    ) -> dict[str, Any]:
        """`options`, completed with where to send a call of task `name`.

        Raises:
            QueueNotFound: a queue is named that is not configured, and new ones are not made.
        """
        options = self.expand_destination(options)
        route = self.lookup_route(name, args, kwargs or {}, options, task_type) if self.routes else None
        if route:
            return merge(self.expand_destination(route), options)
        if "queue" not in options and self.app is not None:
            return merge(self.expand_destination(self.app.conf.task_default_queue), options)
        return options

    def expand_destination(self, route: Mapping[str, Any] | str) -> dict[str, Any]:
        """A route as options, with the queue itself instead of its name.

        Raises:
            QueueNotFound: see `route`.
        """
        if isinstance(route, str):
            return {"queue": self._queue(route)}
        options = dict(route)
        queue = options.get("queue")
        if queue:
            options["queue"] = self._queue(queue)
        else:
            options.pop("queue", None)
        return options

    def _queue(self, queue: Any) -> Any:
        if not isinstance(queue, str):
            return queue
        try:
            return self.queues[queue]
        except KeyError:
            raise QueueNotFound(f"Queue {queue!r} missing from task_queues") from None

    def lookup_route(
        self, name: str, args: Any = None, kwargs: Any = None, options: Any = None, task_type: Any = None
    ) -> Route:
        """The first router's answer that is not None."""
        for router in self.routes:
            route = self.query_router(router, name, args, kwargs, options, task_type)
            if route is not None:
                return route
        return None

    def query_router(
        self, router: Any, task: str, args: Any, kwargs: Any, options: Any, task_type: Any
    ) -> Route:
        """One router's answer.

        Raises:
            TypeError: it is neither None, nor a queue's name, nor options.
        """
        ask: Callable[..., Any] | None = getattr(router, "route_for_task", None)
        if ask is not None:
            route = ask(task, args, kwargs)
        else:
            route = router(task, args, kwargs, options, task=task_type)
        if route is None or isinstance(route, (str, Mapping)):
            return route
        raise TypeError(
            f"router {router!r} answered {route!r} for task {task}: expected None, a queue's name or a mapping of options"
        )


def merge(route: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """`route`, overridden by all `options` that are not None."""
    route.update({key: value for key, value in options.items() if value is not None})
    return route

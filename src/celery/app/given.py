"""Which of `Celery.send_task`'s named options a call gave a value."""

from __future__ import annotations

from typing import Any

#: The default of options for which None says something: it clears the task's own value.
OMITTED: Any = object()

_DEFAULTS: dict[str, Any] = {
    "countdown": None,
    "eta": None,
    "task_id": None,
    "producer": None,
    "connection": None,
    "router": None,
    "expires": OMITTED,
    "publisher": None,
    "link": None,
    "link_error": None,
    "group_id": None,
    "group_index": None,
    "retries": 0,
    "chord": None,
    "reply_to": None,
    "time_limit": OMITTED,
    "soft_time_limit": OMITTED,
    "root_id": None,
    "parent_id": None,
    "route_name": None,
    "shadow": None,
    "chain": None,
    "task_type": None,
    "replaced_task_nesting": 0,
}
_NONE_SAYS = tuple(key for key, value in _DEFAULTS.items() if value is not None)


def given_options(values: dict[str, Any]) -> dict[str, Any]:
    """Pick the named options that are not what they are by default.

    Args:
        values: `locals()` of `send_task`; what is no named option is passed over.
    """
    # Nearly all are None: looked up are those few that are not, and those for which None says something.
    given = {
        key: value
        for key, value in values.items()
        if value is not None and _DEFAULTS.get(key, value) is not value
    }
    for key in _NONE_SAYS:
        if values[key] is None:
            given[key] = None
    return given

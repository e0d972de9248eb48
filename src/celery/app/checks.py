"""What a setting's value must look like, how its environment variable is read, and near-misses of its name.

Reading is lenient where Celery is (numeric strings, lists for tuples, one name where several are allowed,
objects where a name is usual) and says plainly what is wrong where using the value could only fail.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celery.exceptions import CeleryWarning, ImproperlyConfigured

from .defaults import BY_NAME, OLD_TO_NEW, UNLISTED, strtobool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_CONTAINERS = (list, tuple, set, frozenset, Mapping)
#: Settings that take more than their type says, and what: shown to whoever gives them something else.
_ALSO: dict[str, tuple[tuple[type, ...], str]] = {
    "broker_url": ((list, tuple), "a URL or a list of URLs"),
    "broker_read_url": ((list, tuple), "a URL or a list of URLs"),
    "broker_write_url": ((list, tuple), "a URL or a list of URLs"),
    "broker_use_ssl": ((Mapping,), "true, false or a dict of TLS options"),
    "broker_failover_strategy": ((list, tuple), "'round-robin', 'shuffle' or a callable"),
    "cassandra_auth_kwargs": ((Mapping,), "a dict of arguments"),
    "redis_backend_use_ssl": ((bool,), "a dict of TLS options"),
    "task_queues": ((list, tuple, set, frozenset), "a list of Queue or a dict of name to options"),
    "beat_schedule": ((), "a dict of entry name to entry"),
}
_EXPECTED = {
    "string": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "bytes": "bytes",
    "dict": "a dict",
    "list": "a list",
    "tuple": "a list or tuple",
}


class SettingNameWarning(CeleryWarning):
    """A key in the configuration looks like a misspelt setting."""


def type_of(name: str) -> str:
    """The type of a setting by its new name; `any` for one we do not know."""
    row = BY_NAME.get(name)
    return row.type if row else UNLISTED.get(name, "any")


def wrong_type(name: str, value: Any, *, where: str = "") -> ImproperlyConfigured:
    """The error for a value that cannot be used: names setting, value and what is expected."""
    expected = _ALSO[name][1] if name in _ALSO else _EXPECTED.get(type_of(name), "another value")
    return ImproperlyConfigured(
        f"Setting {name!r}{where} is {value!r} ({type(value).__name__}): expected {expected}."
    )


def check(name: str, value: Any) -> Any:
    """Return `value` ready for use as setting `name` (new name), or say what is wrong with it.

    Numeric strings become numbers, words become truth values, one string becomes a list where a list is
    meant. Objects that cannot be judged (lazy values, classes, timedeltas) pass unchanged.

    Raises:
        ImproperlyConfigured: using the value could only fail.
    """
    if value is None:
        return None
    kind = type_of(name)
    if name in _ALSO and isinstance(value, _ALSO[name][0]):
        return value
    reader = _CHECKS.get(kind)
    return value if reader is None else reader(name, value)


def _check_number(name: str, value: Any) -> Any:
    if isinstance(value, _CONTAINERS):
        raise wrong_type(name, value)
    if not isinstance(value, (str, bytes)):
        return value
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise wrong_type(name, value) from None


def _check_bool(name: str, value: Any) -> Any:
    if isinstance(value, str):
        try:
            return strtobool(value.strip()) if value.strip() else False
        except TypeError:
            raise wrong_type(name, value) from None
    return value


def _check_string(name: str, value: Any) -> Any:
    if isinstance(value, _CONTAINERS):
        raise wrong_type(name, value)
    return value


def _check_dict(name: str, value: Any) -> Any:
    if isinstance(value, (str, bytes, int, float, list, tuple, set)):
        raise wrong_type(name, value)
    return value


def _check_sequence(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, (int, float, Mapping)):
        raise wrong_type(name, value)
    return value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "string": _check_string,
    "int": _check_number,
    "float": _check_number,
    "bool": _check_bool,
    "dict": _check_dict,
    "list": _check_sequence,
    "tuple": _check_sequence,
}


def parse_text(name: str, text: str) -> Any:
    """Read the text of an environment variable as a value of setting `name`.

    Numbers and truth values by their words; dicts as JSON; lists and tuples as JSON or separated by commas;
    settings of type `any` as JSON if it is JSON, else as the text itself.

    Raises:
        ImproperlyConfigured: the text is not of the setting's type.
    """
    kind = type_of(name)
    if kind == "bytes":
        return text.encode()
    if text.lstrip()[:1] in ("{", "[") and (kind in ("dict", "list", "tuple") or name in _ALSO):
        return _parse_json(name, text)
    if kind == "any":
        return _parse_any(text)
    if name == "broker_use_ssl" or kind != "dict":
        return _parse_scalar(name, text)
    raise _bad_variable(name, text)


def _parse_scalar(name: str, text: str) -> Any:
    try:
        return check(name, text)
    except ImproperlyConfigured:
        raise _bad_variable(name, text) from None


def _parse_json(name: str, text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        raise _bad_variable(name, text) from None
    return tuple(value) if type_of(name) == "tuple" and isinstance(value, list) else value


def _parse_any(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _bad_variable(name: str, text: str) -> ImproperlyConfigured:
    return wrong_type(name, text, where=f" (from the environment variable {variable_of(name)})")


def variable_of(name: str) -> str:
    """The environment variable of a setting: `task_serializer` is `CELERY_TASK_SERIALIZER`."""
    return f"CELERY_{name.upper()}"


class EnvironmentLayer(Mapping[str, Any]):
    """The settings that environment variables give, read when asked for. An empty variable is unset."""

    def __getitem__(self, name: str) -> Any:
        if name not in BY_NAME and name not in UNLISTED:
            raise KeyError(name)
        text = os.environ.get(variable_of(name))
        if not text:
            raise KeyError(name)
        return parse_text(name, text)

    def __iter__(self) -> Iterator[str]:
        for name in (*BY_NAME, *UNLISTED):
            if os.environ.get(variable_of(name)):
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in BY_NAME or name in UNLISTED) and bool(
            os.environ.get(variable_of(name))
        )  # fmt: skip


def nearest_name(key: str) -> str | None:
    """The setting that `key` was probably meant to be, or None: it is one, or it is nothing like one."""
    if len(key) < 6 or key.startswith("_") or key in BY_NAME or key in OLD_TO_NEW or key in UNLISTED:
        return None
    lowered = key.lower()
    if lowered in BY_NAME:
        return lowered
    bare = lowered.removeprefix("celery_")
    if bare != lowered and bare in BY_NAME:
        return bare
    pool: Iterable[str] = OLD_TO_NEW if key.isupper() else BY_NAME
    allowed = 1 if len(key) < 12 else 2
    best = min(
        ((edits, name) for name in pool if (edits := _edits(key, name, allowed)) <= allowed),
        default=None,
    )
    return best[1] if best else None


def _edits(a: str, b: str, limit: int) -> int:
    """Insertions, deletions, replacements and swaps of neighbours from `a` to `b`; `limit` + 1 if more."""
    if abs(len(a) - len(b)) > limit or a[0] != b[0]:
        return limit + 1
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
        before, last = last, row
    return last[-1]


_warned: set[str] = set()


def warn_near_misses(
    keys: Iterable[Any], source: Mapping[str, Any] | None = None, *, namespace: str = "", stacklevel: int = 3
) -> None:
    """Warn, once in this process for each key, about keys that look like misspelt settings.

    Args:
        source: where the keys are from: functions and classes in it are not settings.
        namespace: prefix that the keys of this source carry, as `CELERY_`; others belong to somebody else.
    """
    for key in keys:
        if not isinstance(key, str) or key in _warned:
            continue
        if namespace and not key.startswith(namespace):
            continue
        name = key.removeprefix(namespace)
        if namespace:
            name = name.lower()
        right = nearest_name(name)
        if right is None or (source is not None and callable(source[key])):
            continue
        _warned.add(key)
        right = _in_style_of(key, right, namespace)
        warnings.warn(
            f"Unknown setting {key!r}: did you mean {right!r}? The value is kept, and has no effect.",
            SettingNameWarning,
            stacklevel=stacklevel,
        )


def _in_style_of(key: str, name: str, namespace: str) -> str:
    if not namespace:
        return name
    return namespace + (name.upper() if key.isupper() else name)

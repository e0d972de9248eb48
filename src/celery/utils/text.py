"""Shaping text for people: abbreviate, indent, fill, count."""

from __future__ import annotations

import io
import re
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from re import Match, Pattern

__all__ = (
    "WhateverIO",
    "abbr",
    "abbrtask",
    "dedent",
    "dedent_initial",
    "ensure_newlines",
    "ensure_sep",
    "fill_paragraphs",
    "indent",
    "join",
    "pluralize",
    "pretty",
    "remove_repeating_from_task",
    "simple_format",
    "str_to_list",
    "truncate",
)

UNKNOWN_SIMPLE_FORMAT_KEY = """
Unknown format %{0} in string {1!r}.
Possible causes: Did you forget to escape the expand sign (use '%%{0!r}'),
or did you escape and the value was expanded twice? (%%N -> %N -> %hostname)?
""".strip()

RE_FORMAT = re.compile(r"%([%\w])")


def str_to_list(s: Any) -> Any:
    """`'a,b'` as `['a', 'b']`; anything but a string as it is."""
    return s.split(",") if isinstance(s, str) else s


def dedent_initial(s: str, n: int = 4) -> str:
    """Remove an indentation of `n` spaces from the first line."""
    return s[n:] if s[:n] == " " * n else s


def dedent(s: str, sep: str = "\n") -> str:
    """Remove an indentation of four spaces from every line that has it."""
    return sep.join(dedent_initial(line) for line in s.splitlines())


def fill_paragraphs(s: str, width: int, sep: str = "\n") -> str:
    """Break each line into lines of at most `width` characters."""
    from textwrap import fill  # noqa: PLC0415 - slow to import, seldom needed

    return sep.join(fill(paragraph, width) for paragraph in s.split(sep))


def join(l: list[str], sep: str = "\n") -> str:  # noqa: E741 - the public name
    """Join those that are not empty."""
    return sep.join(item for item in l if item)


def ensure_sep(sep: str, s: str, n: int = 2) -> str:
    """Make `s` end with at least `n` times `sep`."""
    return s + sep * (n - s.count(sep))


ensure_newlines = partial(ensure_sep, "\n")


def abbr(S: str, max: int, ellipsis: str | bool = "...") -> str:  # noqa: A002, N803, RUF100 - public names
    """Cut `S` to `max` characters, `ellipsis` (if any) included."""
    if S is None:
        return "???"
    if len(S) <= max:
        return S
    if isinstance(ellipsis, str) and ellipsis:
        return S[: max - len(ellipsis)] + ellipsis
    return S[:max]


def abbrtask(S: str, max: int) -> str:  # noqa: A002, N803, RUF100 - public names
    """Cut a task's name to `max` characters, sparing its last part: `proj[.]task`."""
    if S is None:
        return "???"
    if len(S) <= max:
        return S
    module, _, task = S.rpartition(".")
    return f"{abbr(module, max - len(task) - len('[.]'), False)}[.]{task}"


def indent(t: str, indent: int = 0, sep: str = "\n") -> str:
    """Put `indent` spaces before every line."""
    return sep.join(" " * indent + line for line in t.split(sep))


def truncate(s: str, maxlen: int = 128, suffix: str = "...") -> str:
    """Cut `s` to `maxlen` characters, followed by `suffix`, at a word if there is one."""
    if maxlen and len(s) >= maxlen:
        return s[:maxlen].rsplit(" ", 1)[0] + suffix
    return s


def pluralize(n: float, text: str, suffix: str = "s") -> str:
    """`text`, with `suffix` unless `n` is one."""
    return text if n == 1 else text + suffix


def pretty(value: Any, width: int = 80, nl_width: int = 80, sep: str = "\n", **kw: Any) -> str:
    """`value` as `pprint` writes it; a dictionary, without its first brace, on a line of its own."""
    from pprint import pformat  # noqa: PLC0415 - slow to import, seldom needed

    if isinstance(value, dict):
        return f"{sep} {pformat(value, 4, nl_width)[1:]}"
    if isinstance(value, tuple):
        return f"{sep}{' ' * 4}{pformat(value, width=nl_width, **kw)}"
    return pformat(value, width=width, **kw)


def match_case(s: str, other: str) -> str:
    """`s` in the case of `other`."""
    return s.upper() if other.isupper() else s.lower()


def simple_format(
    s: str,
    keys: Mapping[str, str | Callable[[], str]],
    pattern: Pattern[str] = RE_FORMAT,
    expand: str = r"\1",
) -> str:
    """Replace `%x` by `keys['x']`, or by what that returns if it can be called.

    Raises:
        ValueError: there is a `%x` without a key.
    """
    if not s:
        return s
    full = {"%": "%", **keys}

    def resolve(match: Match[str]) -> str:
        key = match.expand(expand)
        try:
            value = full[key]
        except KeyError:
            raise ValueError(UNKNOWN_SIMPLE_FORMAT_KEY.format(key, s)) from None
        return str(value() if callable(value) else value)

    return pattern.sub(resolve, s)


def remove_repeating_from_task(task_name: str, s: str) -> str:
    """Shorten the arguments in `s` where they repeat the module of `task_name`."""
    return remove_repeating(task_name.rpartition(".")[0] + ".", s)


def remove_repeating(substr: str, s: str) -> str:
    """Keep only the first `substr` in `s`."""
    at = s.find(substr)
    if at < 0:
        return s
    after = at + len(substr)
    return s[:after] + s[after:].replace(substr, "")


class WhateverIO(io.StringIO):
    """A `StringIO` that also takes bytes (UTF-8)."""

    def __init__(self, v: bytes | str | None = None, *a: Any, **kw: Any) -> None:
        super().__init__(v.decode() if isinstance(v, bytes) else v, *a, **kw)

    def write(self, data: bytes | str) -> int:
        return super().write(data.decode() if isinstance(data, bytes) else data)

"""The fields of a crontab: what is written there, and the numbers that it means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery.utils.time import weekday, yearmonth


class ParseException(Exception):
    """Text of a field that cannot be read."""


class crontab_parser:  # noqa: N801, RUF100 - the public name
    """Reads text like `*/15`, `1,2`, `mon-fri`, `22-2/2`.

    Args:
        max_: how many numbers there are.
        min_: the first of them.
    """

    ParseException = ParseException

    def __init__(self, max_: int = 60, min_: int = 0) -> None:
        self.min_ = min_
        self.max_ = max_ + min_ - 1

    def parse(self, spec: str) -> set[int]:
        """The numbers that are meant.

        Raises:
            ParseException: something is missing, or negative.
            ValueError: a number out of range, or a word that names no day or month.
        """
        numbers: set[int] = set()
        for part in spec.split(","):
            text = part.strip()
            if not text:
                raise ParseException("empty part")
            numbers.update(self._part(text))
        return numbers

    def _part(self, part: str) -> list[int]:
        span, slash, step = part.partition("/")
        if span == "*":
            numbers = list(range(self.min_, self.max_ + 1))
        else:
            begin, dash, end = span.partition("-")
            if dash and not begin:
                raise ParseException("negative numbers not supported")
            if (not dash and slash) or (dash and not end):
                return [self._number(part)]  # no number: that says so
            first = self._number(begin)
            last = self._number(end.partition("-")[0]) if dash else first
            numbers = self._range(first, last)
        if not slash:
            return numbers
        if not step:
            raise ParseException("empty filter")
        return numbers[:: int(step)]

    def _range(self, first: int, last: int) -> list[int]:
        if last >= first:
            return list(range(first, last + 1))
        return [*range(first, self.max_ + 1), *range(self.min_, last + 1)]

    def _number(self, text: str) -> int:
        if text.startswith("-"):
            raise ParseException("negative numbers not supported")
        try:
            number = int(text)
        except ValueError:
            number = _named(text)
        if number > self.max_:
            raise ValueError(f"Invalid end range: {number} > {self.max_}.")
        if number < self.min_:
            raise ValueError(f"Invalid beginning range: {number} < {self.min_}.")
        return number


def _named(text: str) -> int:
    if text.isalpha():
        for find in (yearmonth, weekday):
            try:
                return find(text)
            except KeyError:
                continue
    raise ValueError(f"Invalid weekday literal {text!r}.") from None


def expand(spec: Any, count: int, first: int = 0) -> set[int]:
    """The numbers that a field means.

    Args:
        spec: a number, text (see `crontab_parser`), or numbers.
        count: how many numbers there are. first: the least.

    Raises:
        TypeError: something else. ValueError, ParseException: see `crontab_parser.parse`.
    """
    if isinstance(spec, str):
        return crontab_parser(count, first).parse(spec)
    if isinstance(spec, int):
        numbers = {spec}
    elif isinstance(spec, Iterable):
        numbers = set(spec)
    else:
        raise TypeError(f"A field of a crontab is a number, text, or numbers, not {spec!r}")
    last = first + count - 1
    for number in numbers:
        if not first <= number <= last:
            raise ValueError(
                f"Invalid crontab pattern.  Valid range is {first}-{last}. {str(number)!r} was found."
            )
    return numbers

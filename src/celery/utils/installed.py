"""What is installed, read from its folders: versions and entry points.

`importlib.metadata` answers the same, but importing it takes 25 ms and 3 MB of every worker process. It is asked
only where distributions are not plain folders on `sys.path` (zip files, eggs, finders of their own).
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from importlib.machinery import PathFinder
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class EntryPoint:
    """A name that an installed distribution offers.

    Attributes:
        value: `module:attribute`.
    """

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self.value = value

    def load(self) -> Any:
        """Import what it stands for.

        Raises:
            ImportError, AttributeError: it is not there.
        """
        path = self.value.partition("[")[0].strip()  # without the extras it wants
        module, _, attribute = path.partition(":")
        found = importlib.import_module(module.strip())
        return attrgetter(attribute.strip())(found) if attribute else found


def entry_points(group: str) -> list[EntryPoint]:
    """The entry points of a group, in the order of `sys.path`."""
    if not _is_plain():
        from importlib import metadata  # noqa: PLC0415 - slow to import, and rarely needed

        return [EntryPoint(point.name, point.value) for point in metadata.entry_points(group=group)]
    texts = (_read(f"{folder}/entry_points.txt") for _, folder in _distributions())
    return [point for text in texts if group in text for point in _section(text, group)]


def version_of(distribution: str) -> str | None:
    """The version of an installed distribution; None if it is not installed."""
    if not _is_plain():
        from importlib import metadata  # noqa: PLC0415 - slow to import, and rarely needed

        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            return None
    wanted = _normal(distribution)
    for name, folder in _distributions():
        if name == wanted:
            text = _read(f"{folder}/METADATA") or _read(f"{folder}/PKG-INFO") or _read(folder)
            found = re.search(r"^Version:\s*(\S+)", text, re.MULTILINE | re.IGNORECASE)
            if found is not None:
                return found[1]
    return None


def _is_plain() -> bool:
    for finder in sys.meta_path:
        if finder is not PathFinder and hasattr(finder, "find_distributions"):
            return False
    return not any(place.endswith(".egg") or os.path.isfile(place) for place in sys.path)


def _distributions() -> Iterator[tuple[str, str]]:
    """Normalized name and folder of each; the first of a name hides the others."""
    seen = set()
    for place in sys.path:
        try:
            names = os.listdir(place or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                normal = _normal(name.rpartition(".")[0].partition("-")[0])
                if normal not in seen:
                    seen.add(normal)
                    yield normal, os.path.join(place, name)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _section(text: str, group: str) -> Iterator[EntryPoint]:
    current = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            current = line.strip("[]").strip()
        elif current == group and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield EntryPoint(name.strip(), value.strip())

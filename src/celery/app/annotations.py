"""`task_annotations`: attributes of tasks changed by configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celery.utils.functional import firstmethod, mlazy
from celery.utils.imports import instantiate

__all__ = ("MapAnnotation", "prepare", "resolve_all")

_first_match = firstmethod("annotate")
_first_match_any = firstmethod("annotate_any")


class MapAnnotation(dict[str, Any]):
    """A mapping of task name to attributes; `*` stands for every task."""

    def annotate_any(self) -> dict[str, Any] | None:
        """Attributes for every task, None if there are none."""
        return dict(self["*"]) if "*" in self else None

    def annotate(self, task: Any) -> dict[str, Any] | None:
        """Attributes for this task, None if there are none."""
        return dict(self[task.name]) if task.name in self else None


def prepare(annotations: Any) -> Iterable[Any]:
    """Return the annotations of the setting `task_annotations` as objects.

    Args:
        annotations: None, a mapping, an object with `annotate(task)` or `annotate_any()`, the dotted name
            of one, or a list of these.
    """
    if annotations is None:
        return ()
    if not isinstance(annotations, (list, tuple)):
        annotations = (annotations,)
    return [_expand(item) for item in annotations]


def _expand(annotation: Any) -> Any:
    if isinstance(annotation, Mapping):
        return MapAnnotation(annotation)
    if isinstance(annotation, str):
        return mlazy(instantiate, annotation)
    return annotation


def resolve_all(anno: Iterable[Any], task: Any) -> Iterator[Mapping[str, Any]]:
    """Yield what the annotations say of this task: of it by name first, then of every task."""
    return (found for found in (_first_match(anno, task), _first_match_any(anno)) if found)

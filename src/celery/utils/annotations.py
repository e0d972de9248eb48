"""Questions about type annotations."""

from __future__ import annotations

import types
import typing
from inspect import isclass
from typing import Any

__all__ = ("annotation_is_class", "annotation_issubclass", "get_optional_arg", "is_none_type")


def is_none_type(value: Any) -> bool:
    """Whether `value` is the type of None."""
    return value is types.NoneType


def get_optional_arg(annotation: Any) -> Any:
    """`X` of `Optional[X]` or `X | None`; None of anything else."""
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return None
    args = typing.get_args(annotation)
    if len(args) != 2 or not any(is_none_type(arg) for arg in args):
        return None
    return next(arg for arg in args if not is_none_type(arg))


def annotation_is_class(annotation: Any) -> bool:
    """Whether the annotation is a class itself, not a generic form of one."""
    return isclass(annotation) and not isinstance(annotation, types.GenericAlias)


def annotation_issubclass(annotation: Any, cls: type) -> bool:
    """Whether the annotation is a class, and a subclass of `cls`."""
    return annotation_is_class(annotation) and issubclass(annotation, cls)

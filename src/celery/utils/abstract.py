"""What it takes to be called as a task or a signature, for `isinstance`."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

__all__ = ("CallableSignature", "CallableTask")


def _hasattr(C: type, attr: str) -> bool:  # noqa: N803, RUF100 - the usual name
    return any(attr in vars(base) for base in C.__mro__)


class _AbstractClass(metaclass=ABCMeta):  # noqa: B024 - its subclasses have them
    __required_attributes__: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def _subclasshook_using(cls, parent: type, C: type) -> Any:  # noqa: N803, RUF100 - the usual name
        if cls is parent and all(_hasattr(C, attr) for attr in cls.__required_attributes__):
            return True
        return NotImplemented

    @classmethod
    def register(cls, other: type) -> type:
        """Count `other` as one (decorator)."""
        ABCMeta.register(cls, other)
        return other


class CallableTask(_AbstractClass, Callable):  # type: ignore[misc, type-arg]  # an ABC like any other
    """Something with the methods by which a task is called."""

    __required_attributes__ = frozenset({"delay", "apply_async", "apply"})

    @abstractmethod
    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Send the task."""

    @abstractmethod
    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        """Send the task, with options."""

    @abstractmethod
    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task here."""

    @classmethod
    def __subclasshook__(cls, C: type) -> Any:  # noqa: N803, RUF100 - the usual name
        return cls._subclasshook_using(CallableTask, C)


class CallableSignature(CallableTask):
    """Something with the attributes and methods of a signature."""

    __required_attributes__ = frozenset({"clone", "freeze", "set", "link", "link_error", "__or__"})

    @property
    @abstractmethod
    def name(self) -> Any: ...

    @property
    @abstractmethod
    def type(self) -> Any: ...

    @property
    @abstractmethod
    def app(self) -> Any: ...

    @property
    @abstractmethod
    def id(self) -> Any: ...

    @property
    @abstractmethod
    def task(self) -> Any: ...

    @property
    @abstractmethod
    def args(self) -> Any: ...

    @property
    @abstractmethod
    def kwargs(self) -> Any: ...

    @property
    @abstractmethod
    def options(self) -> Any: ...

    @property
    @abstractmethod
    def subtask_type(self) -> Any: ...

    @property
    @abstractmethod
    def chord_size(self) -> Any: ...

    @property
    @abstractmethod
    def immutable(self) -> Any: ...

    @abstractmethod
    def clone(self, args: Any = None, kwargs: Any = None) -> Any:
        """A copy."""

    @abstractmethod
    def freeze(
        self,
        id: Any = None,  # noqa: A002 - the public name
        group_id: Any = None,
        chord: Any = None,
        root_id: Any = None,
        group_index: Any = None,
    ) -> Any:
        """Fix the id of the call."""

    @abstractmethod
    def set(self, immutable: Any = None, **options: Any) -> Any:
        """Set options."""

    @abstractmethod
    def link(self, callback: Any) -> Any:
        """Call something with the result."""

    @abstractmethod
    def link_error(self, errback: Any) -> Any:
        """Call something if it fails."""

    @abstractmethod
    def __or__(self, other: Any) -> Any: ...

    @abstractmethod
    def __invert__(self) -> Any: ...

    @classmethod
    def __subclasshook__(cls, C: Any) -> Any:  # noqa: N803, RUF100 - the usual name
        return cls._subclasshook_using(CallableSignature, C)

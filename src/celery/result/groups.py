"""The result of a group: a set with an id, which can be stored and found again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery._state import app_or_default

from .sets import ResultSet, name_of
from .single import T
from .workflows import workflow_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .workflows import Workflow


class GroupResult(ResultSet[T]):
    """The result of a group: a `ResultSet` with an id, which can be saved and found again.

    Args:
        id: the group's id.
        results: of its members.
        parent: the result of the task before the group in a chain.
    """

    #: The group's id.
    id: str | None = None

    def __init__(
        self,
        id: str | None = None,  # noqa: A002 - Celery's name
        results: Iterable[Any] | None = None,
        parent: Any = None,
        **kwargs: Any,
    ) -> None:
        self.id = id
        self.parent = parent
        super().__init__(() if results is None else results, **kwargs)

    @property
    def children(self) -> list[Any]:
        """The members."""
        return self.results

    def workflow(self) -> Workflow:
        """All that is stored of the workflow that this is of, and what this result itself knows; also while it runs.

        Raises:
            NotImplementedError: results are disabled.
        """
        return workflow_of(self)

    def save(self, backend: Any = None) -> Any:
        """Store which results these are, so that `restore` finds them by the group's id.

        Raises:
            ValueError: the group has no id.
            NotImplementedError: the backend cannot.
        """
        return (backend or self.backend).save_group(self.id, self)

    def delete(self, backend: Any = None) -> None:
        """Remove what `save` stored."""
        (backend or self.backend).delete_group(self.id)

    @classmethod
    def restore(cls, id: str, backend: Any = None, app: Any = None) -> Any:  # noqa: A002 - Celery's name
        """The group saved under an id; None if there is none."""
        own: Any = vars(cls).get("app")  # of a class made for an app
        return (backend or app_or_default(app or own).backend).restore_group(id)

    def as_tuple(self) -> Any:
        """`((id, parent as a tuple or None), [members as tuples])`."""
        return (self.id, self.parent and self.parent.as_tuple()), [r.as_tuple() for r in self.results]

    serializable = as_tuple

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return (other.id, other.results, other.parent) == (self.id, self.results, self.parent)
        if isinstance(other, str):
            return other == self.id
        return NotImplemented

    def __hash__(self) -> int:  # type: ignore[override]  # it has an id
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{', '.join(name_of(r) for r in self.results)}]>"

    def __reduce_args__(self) -> tuple[Any, ...]:
        return self.id, self.results, self.parent

"""Groups in a result backend: which results belong to a group, under the group's id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from celery.result import result_from_tuple

if TYPE_CHECKING:
    Meta = dict[str, Any]


class GroupStore:
    """What a backend does for `GroupResult`. Drivers give `_save_group`, `_restore_group` and `_delete_group`."""

    def save_group(self: Any, group_id: str, result: Any) -> Any:
        """Store which results are a group's; returns the group.

        Raises:
            BackendStoreError: the store did not take it.
            NotImplementedError: this store keeps no groups.
        """
        return self._insist_on_storing(lambda: self._save_group(group_id, result), f"group {group_id}")

    def restore_group(self, group_id: str, cache: bool = True) -> Any:
        """The group saved under an id; None if there is none."""
        meta = self.get_group_meta(group_id, cache=cache)
        return meta["result"] if meta else None

    def get_group_meta(self: Any, group_id: str, cache: bool = True) -> Meta | None:
        """What is stored of a group, as a mapping with the group as `result`; None if nothing is.

        Raises:
            BackendGetMetaError: the store did not answer.
        """
        self._ensure_not_eager()
        if cache and group_id in self._cache:
            found: Meta = self._cache[group_id]
            return found
        meta: Meta | None = self._read(lambda: self._restore_group(group_id), group_id)
        if cache and meta is not None:
            self._cache[group_id] = meta
        return meta

    def reload_group_result(self: Any, group_id: str) -> None:
        """Remember what is stored of a group now."""
        self._cache[group_id] = self.get_group_meta(group_id, cache=False)

    def delete_group(self: Any, group_id: str) -> None:
        """Remove what `save_group` stored."""
        self._cache.pop(group_id, None)
        self._delete_group(group_id)

    def _group_from_tuple(self: Any, stored: Any) -> Any:
        return result_from_tuple(stored, self.app)

    def _save_group(self, group_id: str, result: Any) -> Any:
        self._keeps_no_groups()

    def _restore_group(self, group_id: str) -> Meta | None:
        self._keeps_no_groups()

    def _delete_group(self, group_id: str) -> None:
        self._keeps_no_groups()

    def _keeps_no_groups(self) -> NoReturn:
        raise NotImplementedError(
            f"{type(self).__name__} keeps no groups: they cannot be saved and restored."
        )

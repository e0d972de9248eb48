"""A progress bar in the terminal, for `result.get(on_progress=bar())`. Needs the extra `progress`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from typing import Self

    from rich.console import Console

    from celery.result import Progress

__all__ = ("Bar", "bar")


class Bar:
    """Draws a `Progress` whenever it is called with one; made by `bar()`.

    It is closed by whoever waits for the result; as a context manager it may be used by several, one after another.
    """

    def __init__(self, label: str, console: Console | None, options: dict[str, Any]) -> None:
        from rich import progress as rich  # noqa: PLC0415 - an extra

        columns = (
            rich.TextColumn("{task.description}", markup=False),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TimeElapsedColumn(),
            rich.TextColumn("{task.fields[told]}", markup=False),
        )
        # Drawn when there is news: no thread of its own, which nobody would end if the wait is given up.
        self._drawn = rich.Progress(*columns, console=console, auto_refresh=False, **options)
        self._label = label
        self._row: rich.TaskID | None = None

    def __call__(self, progress: Progress) -> None:
        """Draw it."""
        if self._row is None:
            self._row = self._drawn.add_task(self._label, total=progress.total, told="")
            self._drawn.start()
        self._drawn.update(
            self._row, completed=progress.done, total=progress.total, told=_told(progress), refresh=True
        )

    def close(self) -> None:
        """Leave the terminal as it was; the bar stays to be seen."""
        if self._row is not None:
            self._drawn.stop()
            self._row = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _told(progress: Progress) -> str:
    """What is said beside the bar."""
    if progress.failed:
        return f"{progress.failed} failed"
    if progress.info is not None:
        return " ".join(str(progress.info).split())
    return progress.state.lower()


def bar(label: str = "tasks", *, console: Console | None = None, **options: Any) -> Bar:
    """Make a progress bar for `get`, `aget` and `join_native`.

    Args:
        label: what stands before it.
        console: a `rich.console.Console`; default: one on standard output.
        **options: of `rich.progress.Progress`, `transient=True` for instance.

    Raises:
        ImproperlyConfigured: rich is not installed.
    """
    try:
        return Bar(label, console, options)
    except ImportError as exc:
        raise ImproperlyConfigured(
            f"A progress bar needs rich ({exc}): pip install 'celeriac[progress]'"
        ) from None

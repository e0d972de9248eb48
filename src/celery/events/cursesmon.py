"""`celery events`: a table in the terminal that follows the tasks of a cluster."""

from __future__ import annotations

import contextlib
import curses
import threading
import time
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import celery
from celery import states
from celery._state import get_current_app
from celery.utils.text import abbr, abbrtask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .entities import Task
    from .state import State

__all__ = ("CursesMonitor", "evtop")

#: Least width of what is left when UUID, WORKER, TIME and STATE have theirs.
LEAST_UUID, LEAST_TASK, WORKER, STATE, TIME = 8, 10, 16, 8, 8
#: Seconds between two looks.
DELAY = 0.25
GREETING = f"celery events {celery.__version__}"
HELP = "j:down k:up i:info t:traceback r:result c:revoke ^c: quit"

_COLORS = {
    states.SUCCESS: curses.COLOR_GREEN,
    states.FAILURE: curses.COLOR_MAGENTA,
    states.REVOKED: curses.COLOR_MAGENTA,
    states.STARTED: curses.COLOR_YELLOW,
    states.RETRY: curses.COLOR_YELLOW,
}


class CursesMonitor:
    """Draws what a `State` knows of tasks, the latest first; keys move, and show more of one.

    Args:
        state: what to show.
        app: whose tasks these are.
    """

    screen_delay = DELAY
    greet, help = GREETING, HELP

    def __init__(self, state: State, app: Any, keymap: dict[str, Any] | None = None) -> None:
        self.app = app
        self.state = state
        self.win: Any = None
        self.selected_task: str | None = None
        self.keymap = {
            "j": lambda: self.move_selection(1),
            "k": lambda: self.move_selection(-1),
            "c": self.revoke_selection,
            "i": self.selection_info,
            "t": self.selection_traceback,
            "r": self.selection_result,
        } | (keymap or {})
        self._keys = {curses.KEY_DOWN: "j", curses.KEY_UP: "k"}

    # -- what is drawn ----------------------------------------------------------------------------
    def rows(self, limit: int) -> list[tuple[str, Task]]:
        """The tasks to show."""
        return list(self.state.tasks_by_time(limit=limit))

    def format_row(self, uuid: str, task: str, worker: str, when: str, state: str, width: int = 80) -> str:
        """One line of the table, `width` characters long.

        >>> monitor = CursesMonitor(None, None)
        >>> monitor.format_row("UUID", "TASK", "WORKER", "TIME", "STATE", 60)
        'UUID          TASK          WORKER           TIME     STATE  '
        """
        left = max(width - WORKER - TIME - STATE - 4, LEAST_UUID + LEAST_TASK)
        for_uuid = min(max(left // 2, LEAST_UUID), 36)
        for_task = left - for_uuid
        columns = (
            abbr(uuid, for_uuid).ljust(for_uuid),
            abbrtask(task, for_task).ljust(for_task),
            abbr(worker, WORKER).ljust(WORKER),
            abbr(when, TIME).ljust(TIME),
            abbr(state, STATE).ljust(STATE),
        )
        return " ".join(columns)[:width]

    def summary(self) -> list[str]:
        """The lines below the table."""
        state = self.state
        alive = [str(worker.hostname) for worker in state.alive_workers()]
        chosen = state.tasks.get(self.selected_task) if self.selected_task else None
        info = chosen.info(extra=("state",)) if chosen is not None else {}
        return [
            "Selected: " + (" ".join(f"{name}={value}" for name, value in info.items()) or "-"),
            f"Workers online: {', '.join(alive) or '-'}",
            f"Info: events: {state.event_count} tasks: {state.task_count} "
            f"workers: {len(alive)}/{len(state.workers)}",
            self.help,
        ]

    def draw(self) -> None:
        """Draw everything once."""
        win = self.win
        height, width = win.getmaxyx()
        win.erase()
        self._put(0, self.greet, width, curses.A_DIM)
        self._put(
            1, self.format_row("UUID", "TASK", "WORKER", "TIME", "STATE", width - 2), width, curses.A_BOLD
        )
        for line, (uuid, task) in enumerate(self.rows(max(height - 8, 1)), 2):
            if self.selected_task is None:
                self.selected_task = uuid
            worker = str(task.worker.hostname) if task.worker is not None else ""
            when = time.strftime("%H:%M:%S", time.localtime(task.timestamp or 0))
            text = self.format_row(uuid, task.name or "", worker, when, task.state, width - 2)
            look = curses.A_STANDOUT if uuid == self.selected_task else curses.A_NORMAL
            self._put(line, text, width, look | self._color(task.state))
        for line, text in enumerate(self.summary(), height - 5):
            self._put(line, text, width, curses.A_NORMAL)
        win.refresh()

    def _put(self, line: int, text: str, width: int, look: int) -> None:
        with contextlib.suppress(curses.error):  # the window was made smaller meanwhile
            self.win.addnstr(line, 1, text, width - 2, look)

    @staticmethod
    def _color(state: str) -> int:
        if not curses.has_colors():
            return 0
        return curses.color_pair(_COLORS.get(state, curses.COLOR_WHITE))

    # -- keys -------------------------------------------------------------------------------------
    def handle_keypress(self) -> None:
        """Do what a key that was pressed stands for."""
        code = self.win.getch()
        key = self._keys.get(code) or (chr(code).lower() if 0 < code < 256 else "")
        action = self.keymap.get(key)
        if action is not None:
            action()

    def move_selection(self, direction: int = 1) -> None:
        """Select the next task, or (-1) the one before."""
        ids = [uuid for uuid, _ in self.rows(max(self.win.getmaxyx()[0] - 8, 1))]
        if not ids:
            return
        at = ids.index(self.selected_task) if self.selected_task in ids else 0
        self.selected_task = ids[min(max(at + direction, 0), len(ids) - 1)]

    def revoke_selection(self) -> None:
        """Revoke the selected task."""
        if self.selected_task:
            self.app.control.revoke(self.selected_task)
            self.alert([f"revoked {self.selected_task}"], "Revoke")

    def selection_info(self) -> None:
        """Show all that is known of the selected task."""
        task = self.state.tasks.get(self.selected_task)
        if task is not None:
            self.alert(
                [f"{name}: {value}" for name, value in task.as_dict().items() if value is not None], "Task"
            )

    def selection_traceback(self) -> None:
        """Show the traceback of the selected task."""
        task = self.state.tasks.get(self.selected_task)
        self.alert((getattr(task, "traceback", None) or "no traceback").splitlines(), "Traceback")

    def selection_result(self) -> None:
        """Show the result of the selected task."""
        if self.selected_task:
            result = self.app.AsyncResult(self.selected_task)
            self.alert([f"{result.state}: {result.result!r}"], "Result")

    def alert(self, lines: list[str], title: str) -> None:
        """Show some lines until a key is pressed."""
        height, width = self.win.getmaxyx()
        self.win.erase()
        self._put(0, f"{title} (press any key)", width, curses.A_BOLD)
        shown = [piece for line in lines for piece in wrap(line, width - 3) or [""]]
        for at, text in enumerate(shown[: height - 3], 2):
            self._put(at, text, width, curses.A_NORMAL)
        self.win.refresh()
        self.win.timeout(-1)
        self.win.getch()
        self.win.timeout(int(self.screen_delay * 1000))

    # -- the screen -------------------------------------------------------------------------------
    def run(self, screen: Any) -> None:
        """Draw until interrupted."""
        self.win = screen
        with contextlib.suppress(curses.error):
            curses.curs_set(0)
        if curses.has_colors():
            curses.use_default_colors()
            for color in {curses.COLOR_WHITE, *_COLORS.values()}:
                curses.init_pair(color, color, -1)
        screen.timeout(int(self.screen_delay * 1000))
        while True:
            self.draw()
            self.handle_keypress()


@contextlib.contextmanager
def _following(app: Any, state: State) -> Iterator[None]:
    """Events come into `state` by a thread."""
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": state.event})
        thread = threading.Thread(target=receiver.capture, name="celery-events", daemon=True)
        thread.start()
        try:
            yield
        finally:
            receiver.should_stop = True
            thread.join(2)


def evtop(app: Any = None) -> None:
    """Follow the tasks of a cluster, until interrupted."""
    app = app or get_current_app()
    state = app.events.State()
    with _following(app, state), contextlib.suppress(KeyboardInterrupt):
        curses.wrapper(CursesMonitor(state, app).run)
